"""Models that no run made: a model server with an address, or a bundle folder from elsewhere, registered as a version like any other."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.digests import digest_file, files_under
from penstock.core.errors import BadInput
from penstock.core.files import write_atomic
from penstock.engines import bundle_file
from penstock.engines.bundle_file import BundleFile, read_bundle, verify_bundle

if TYPE_CHECKING:
    from penstock.stages.optimize.embedder import Pooling
    from penstock.store.registry import ModelVersion
    from penstock.store.store import Store

TASKS = ("text-generation", "embedding")
ORIGIN = "import"  # stands where other versions name their run


def import_server(store: Store, name: str, url: str, *, model: str, key: str | None, task: str, principal: str) -> ModelVersion:
    """Registers the OpenAI-compatible server at `url` as the next version of `name`. The server is asked for its models first.

    `model` may be empty when it has just one. Raises BadInput, UpstreamRefused, ReferenceUnset.
    """
    import httpx

    from penstock.engines.upstream import NAME
    from penstock.engines.upstream_server import NAME as FILE
    from penstock.engines.upstream_server import Server, checked_url, choose_model, look

    if task not in TASKS:
        raise BadInput(f"a model server does {' or '.join(TASKS)}, not {task!r}")
    if key is not None and not key.startswith(("${secret:", "${env:")):
        raise BadInput("the key must be a reference, so that its value is kept nowhere", remedy="Write --key '${secret:NAME}'.")
    server = Server(checked_url(url).rstrip("/"), model, key)
    with httpx.Client(trust_env=False) as client:
        found = look(server, client)
    server = choose_model(server, found)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / FILE).write_bytes(server.data())
        description = BundleFile(name, task, NAME, "the server's", found.max_length, (), {FILE: digest_file(folder / FILE)}, {})
        write_atomic(folder / bundle_file.NAME, description.data())
        facts = {"server": server.root, "server_kind": found.kind, "server_version": found.version, "server_model": server.model}
        return _register(store, name, folder, description, facts, principal)


def import_embedder(
    store: Store, name: str, base: str, *, pooling: Pooling | None, normalize: bool, max_length: int | None, principal: str
) -> ModelVersion:
    """Registers base model `base` (packaged, a folder, a hub id) as a version that embeds. Raises ModelUnavailable, BadInput."""
    from penstock.stages.optimize.embedder import export_embedder
    from penstock.stages.train.bases import locate_base

    with tempfile.TemporaryDirectory() as made:
        source, digest = locate_base(base, Path.cwd(), Path(made))
        folder = Path(made) / "bundle"
        facts = {"base": base, **export_embedder(source, folder, pooling, normalize, max_length)}
        files = {path.relative_to(folder).as_posix(): digest_file(path) for path in files_under(folder)}
        bundle = BundleFile(name, "embedding", facts["engine"], "f32", facts["max_length"], (), files, {"model": digest})
        write_atomic(folder / bundle_file.NAME, bundle.data())
        return _register(store, name, folder, bundle, facts, principal)


def import_bundle(store: Store, name: str, folder: Path, *, principal: str) -> ModelVersion:
    """Registers a bundle folder (as the bundle stage writes it) as the next version of `name`. Raises ArtifactMissing, ArtifactCorrupt."""
    description = read_bundle(folder)
    verify_bundle(folder, description)
    with tempfile.TemporaryDirectory() as made:
        copied = Path(made) / "bundle"
        for path in files_under(folder):
            target = copied / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        return _register(store, name, copied, description, dict(description.made_from), principal)


def _register(store: Store, name: str, folder: Path, bundle: BundleFile, facts: Mapping[str, Any], principal: str) -> ModelVersion:
    meta = {"task": bundle.task, "engine": bundle.engine, "precision": bundle.precision, "max_length": str(bundle.max_length)}
    digest = store.artifacts.commit(folder, "bundle", meta, consume=True).digest
    with store.database.begin():
        version = store.registry.register(name, digest, run=ORIGIN, task=bundle.task, metrics={}, gates=[], facts=facts)
        store.audit.append(principal, "model.import", f"{name}:{version.version}", {"bundle": digest, **facts})
    return version
