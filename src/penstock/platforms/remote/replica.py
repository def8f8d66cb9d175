"""What runs in a container that serves: the bundle from the artifact store, verified, then the replica as on any machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.core.files import told_plainly, write_atomic
from penstock.platforms.remote.adapters import AdapterBringer, held_note, wanted_note

if TYPE_CHECKING:
    from penstock.core.home import Home


@dataclass(frozen=True, slots=True)
class Serving:
    """`bundle` is a digest; `settings` are the engine's."""

    bundle: str
    model: str
    version: str
    name: str
    host: str = "127.0.0.1"
    port: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    drain_s: float = 30.0


def serve(serving: Serving, home: Home, more: Mapping[str, Any]) -> int:
    """Until SIGTERM; the exit code. `more`: further fields of the replica's spec. Raises ArtifactMissing, ArtifactCorrupt."""
    from penstock.serving.replica import main
    from penstock.store.artifacts import Artifacts

    artifacts = Artifacts(home.artifacts_url, home.cache)
    bundle = artifacts.materialize(serving.bundle)
    folder = home.replicas / serving.model / serving.name
    spec = {
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
        "adapter_list": str(folder),
        **more,
    }
    with told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "spec.json", json.dumps(spec).encode(), sync=False)
    wanted = wanted_note(serving.model, serving.version, serving.bundle)
    AdapterBringer(wanted, held_note(serving.model, serving.name), folder, artifacts).start()
    return main(["--spec", str(folder / "spec.json")])
