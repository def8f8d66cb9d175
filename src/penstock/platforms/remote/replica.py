"""What runs in a container that serves: the bundle from the artifact store, verified, then the replica as on any machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.files import told_plainly, write_atomic
from penstock.platforms.remote.adapters import AdapterBringer, held_note, wanted_note
from penstock.platforms.remote.baked import baked

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts


@dataclass(frozen=True, slots=True)
class Serving:
    """`bundle` is a digest; `settings` are the engine's. `folder`: where it lies in the image already (baked.py); else it is fetched."""

    bundle: str
    model: str
    version: str
    name: str
    host: str = "127.0.0.1"
    port: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    drain_s: float = 30.0
    folder: str = ""


def serve(serving: Serving, home: Home, more: Mapping[str, Any]) -> int:
    """Until SIGTERM; the exit code. `more`: further fields of the replica's spec. Raises ArtifactMissing, ArtifactCorrupt."""
    from penstock.serving.replica import main

    folder = home.replicas / serving.model / serving.name
    spec = spec_of(serving, bundle_of(serving, home), folder)
    spec |= {} if serving.folder else {"adapter_list": str(folder)}
    with told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "spec.json", json.dumps({**spec, **more}).encode(), sync=False)
    if not serving.folder:  # whose image holds its bundle needs no store, so it has none to find adapters in
        wanted = wanted_note(serving.model, serving.version, serving.bundle)
        AdapterBringer(wanted, held_note(serving.model, serving.name), folder, _store(home)).start()
    return main(["--spec", str(folder / "spec.json")])


def bundle_of(serving: Serving, home: Home) -> Path:
    """The folder of its bundle, every byte checked. Raises ArtifactMissing, ArtifactCorrupt."""
    return baked(Path(serving.folder), serving.bundle) if serving.folder else _store(home).materialize(serving.bundle)


def spec_of(serving: Serving, bundle: Path, folder: Path) -> dict[str, Any]:
    """Fields of the replica's spec; what it says of itself goes into `folder`."""
    return {
        "id": serving.name,
        "bundle": str(bundle),
        "digest": serving.bundle,
        "model": serving.model,
        "version": serving.version,
        "host": serving.host,
        "port": serving.port,
        "settings": dict(serving.settings),
        "drain_s": serving.drain_s,
        "ready_file": str(folder / "ready.json"),
    }


def _store(home: Home) -> Artifacts:
    from penstock.store.artifacts import Artifacts

    return Artifacts(home.artifacts_url, home.cache)
