"""What a container that serves is told by its environment alone, where the platform starts it with a command of its own.

PENSTOCK_SERVING is JSON: `bundle` (digest), `model`, `version`, `settings` of the engine; PENSTOCK_ARTIFACTS is the store it lies in,
unless `folder` says where the image holds it (baked.py).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.core.errors import BadInput
from penstock.platforms.remote.replica import Serving

if TYPE_CHECKING:
    from penstock.platforms.contract import EndpointSpec, VersionSpec

NAME, MORE = "PENSTOCK_SERVING", "PENSTOCK_REPLICA"
_BY_HAND = "The platform sets it; to serve a bundle by hand, use `penstock replica`."


def telling(desired: EndpointSpec, version: VersionSpec, store: str) -> dict[str, str]:
    """The variables that `told` reads."""
    value = {"bundle": version.bundle, "model": desired.name, "version": version.version, "settings": dict(desired.settings)}
    return {NAME: json.dumps(value, sort_keys=True, separators=(",", ":")), "PENSTOCK_ARTIFACTS": store}


def told(environ: Mapping[str, str], host: str, port: int) -> Serving:
    """Raises BadInput for a variable that is missing or does not read."""
    value = _map(NAME, environ.get(NAME, ""))
    try:
        return Serving(**value, name=f"{value['version']}-{secrets.token_hex(4)}", host=host, port=port)
    except (KeyError, TypeError) as error:
        raise BadInput(f"{NAME} does not say what to serve ({type(error).__name__}: {error})", remedy=_BY_HAND) from error


def further(environ: Mapping[str, str]) -> dict[str, Any]:
    """More fields of the replica's spec, from PENSTOCK_REPLICA. Raises BadInput when it holds no JSON object."""
    return _map(MORE, environ.get(MORE) or "{}")


def _map(name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{name} is not JSON ({error}): {text[:80]!r}", remedy=_BY_HAND) from error
    if not isinstance(value, dict):
        raise BadInput(f"{name} needs a map, not {text[:80]}", remedy=_BY_HAND)
    return value
