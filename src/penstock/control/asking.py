"""Asking this home's gateway as Penstock itself: its own keys, and errors that say what to do."""

from __future__ import annotations

import contextlib
import hashlib
import json
import urllib.error
import urllib.request
from typing import Any

from penstock.control.gateway import put_in_force
from penstock.control.world import principal
from penstock.core.errors import BadInput, NotFound, PenstockError
from penstock.core.files import write_atomic
from penstock.core.home import Home
from penstock.store.store import Store


def own_key(store: Store, home: Home, name: str = "predict") -> str:
    """A key of Penstock's own: made once, kept in a file that only its owner reads; made anew when it was revoked."""
    path = home.folder / f"{name}.key"
    active = {key.sha256 for key in store.keys.list() if key.revoked_at is None}
    with contextlib.suppress(FileNotFoundError):
        kept = path.read_text()
        if hashlib.sha256(kept.encode()).hexdigest() in active:
            return kept
    entry, secret = store.keys.create(name)
    store.audit.append(principal(), "key.create", entry.id, {"name": name})
    write_atomic(path, secret.encode(), mode=0o600)
    put_in_force(store, home)
    return secret


def post(url: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    """Raises BadInput, NotFound, PenstockError."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise _refused(error) from error
    except OSError as error:
        raise PenstockError(
            f"the gateway at {url} does not answer: {getattr(error, 'reason', error)}",
            remedy="Look at `penstock status`; `penstock up` starts what is missing.",
        ) from error


def _refused(error: urllib.error.HTTPError) -> PenstockError:
    try:
        told = json.loads(error.read())["error"]["message"]
    except (ValueError, KeyError, TypeError):  # not from the gateway itself
        told = error.reason
    said = f"the gateway answered {error.code}: {told}"
    if error.code in (401, 403):
        return BadInput(said, remedy="Leave out --key and PENSTOCK_KEY for a key of its own, or make one with `penstock keys create`.")
    if error.code == 404:
        return NotFound(said)
    if error.code < 500:
        return BadInput(said)
    return PenstockError(said, remedy="Look at `penstock status` and at gateway/log in the home; ask again in a moment.")
