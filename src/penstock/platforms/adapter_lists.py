"""The list of adapters that a replica follows, written beside it: their files brought from the artifact store first."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.core.errors import BadInput, PenstockError
from penstock.serving.adapter_file import WantedAdapter, read_wanted, write_wanted

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts


def list_adapters(folder: Path, adapters: Mapping[str, str], artifacts: Artifacts) -> None:
    """Lists them (name → digest) for the replica in `folder`, unless its list says so; what could not be brought is tried again."""
    listed: Mapping[str, WantedAdapter] = {}
    with contextlib.suppress(BadInput):
        listed = read_wanted(folder)
    if {name: one.digest for name, one in listed.items() if one.error is None} != dict(adapters):
        wanted = {name: _brought(digest, artifacts) for name, digest in adapters.items()}
        if wanted != listed:
            write_wanted(folder, wanted)


def _brought(digest: str, artifacts: Artifacts) -> WantedAdapter:
    try:
        folder = artifacts.materialize(digest)
    except PenstockError as error:
        return WantedAdapter(digest, error=error.message)
    return WantedAdapter(digest, str(folder), {entry.path: entry.digest for entry in artifacts.manifest(digest).files})
