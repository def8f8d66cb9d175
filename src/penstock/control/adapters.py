"""LoRA adapters that a deployment names: found, kept as artifacts, and held to the base that they are to stand on before anything changes.

`registry:MODEL@VERSION` (a version trained with `method: lora`; default: its champion), `sha256:…` (an artifact), or a folder of PEFT's.
Not covered: engines elsewhere, which load adapters by their own means.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.errors import ArtifactMissing, BadInput, GateRefused, PenstockError
from penstock.engines.bundle_file import BundleFile, read_bundle
from penstock.engines.lora import CONFIG, WEIGHTS, read_adapter, weights_digest
from penstock.engines.table import ADAPTING
from penstock.spec.deploy import adapter_name
from penstock.store import verified
from penstock.store.manifest import FileEntry, Manifest

if TYPE_CHECKING:
    from penstock.store.store import Store

KIND, REGISTRY, INSIDE = "adapter", "registry:", "adapter/"  # INSIDE: where the train stage puts it in a model
Rows = dict[str, dict[str, Any]]  # name → {digest, from, base}, as they stand in rows


@dataclass(frozen=True, slots=True)
class Located:
    """`source`: as written, with the version that it stands for. `folder`: where the files lie, for those that the store may not have."""

    source: str
    manifest: Manifest
    folder: Path | None = None

    @property
    def digest(self) -> str:
        return self.manifest.digest


def locate_adapters(wanted: Mapping[str, str], beside: Path, store: Store) -> dict[str, Located]:
    """What each name stands for now; nothing is written. Relative folders start `beside`. Raises BadInput and its kin."""
    found = {}
    for name, source in wanted.items():
        try:
            adapter_name(name)
        except ValueError as error:
            raise BadInput(str(error)) from error
        with _about(name, source):
            found[name] = _located(source, beside, store)
    return found


def keep_adapters(located: Mapping[str, Located], store: Store) -> Rows:
    """Makes artifacts of them, and reads each as the engine will. Raises BadInput and its kin, naming the adapter."""
    rows: Rows = {}
    for name, one in located.items():
        with _about(name, one.source):
            _keep(one, store)
            adapter = read_adapter(store.artifacts.materialize(one.digest))
            rows[name] = {"digest": one.digest, "from": one.source, "base": adapter.base}
    return rows


def check_adapters(rows: Mapping[str, Mapping[str, Any]], bundle: str, served: str, store: Store) -> None:
    """Whether each of `rows` stands on the base that `bundle` (a digest) holds; `served` names it in errors, such as `m:3`.

    The base is known by the digest of its weights where the adapter tells it, and by the sizes of its modules always. Raises BadInput.
    """
    if not rows:
        return
    folder = store.artifacts.materialize(bundle)
    description = read_bundle(folder)
    if description.engine not in ADAPTING:
        raise BadInput(
            f"{served} is served by the engine {description.engine}, which takes no adapters",
            remedy=f"Leave `deploy.adapters` out, or serve a model of {' or '.join(ADAPTING)}.",
        )
    from penstock.engines.graph_sizes import graph_sizes

    weights, sizes = _weights_of(description, store), graph_sizes(folder)
    for name, row in rows.items():
        with _about(name, row["from"]):
            adapter = read_adapter(store.artifacts.materialize(row["digest"]))
            if weights is not None and adapter.base is not None and weights != adapter.base:
                raise BadInput(
                    f"it was trained on other weights ({adapter.base[:19]}…) than {served} has ({weights[:19]}…)",
                    remedy="Train it on the model that is served, or leave it out.",
                )
            adapter.check(sizes)


@contextlib.contextmanager
def _about(name: str, source: str) -> Iterator[None]:
    """Errors inside name the adapter."""
    try:
        yield
    except PenstockError as error:
        error.message = f"adapter {name!r} ({source}): {error.message}"
        raise


def _located(source: str, beside: Path, store: Store) -> Located:
    if source.startswith(REGISTRY):
        return _registered(source.removeprefix(REGISTRY), store)
    if source.startswith("sha256:"):
        manifest = store.artifacts.manifest(source)
        if manifest.kind != KIND:
            raise BadInput(f"the artifact is a {manifest.kind}, not an adapter")
        return Located(source, manifest)
    folder = beside / source
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}", remedy="Correct the path, or write registry:MODEL@VERSION for a trained version.")
    read_adapter(folder)
    entries = [FileEntry(name, (folder / name).stat().st_size, verified.digest_of(folder / name)) for name in (CONFIG, WEIGHTS)]
    return Located(source, Manifest(KIND, tuple(entries)), folder)


def _registered(reference: str, store: Store) -> Located:
    model, _, version = reference.partition("@")
    found = store.registry.get(model, version or "champion")
    if found.state == "refused":
        raise GateRefused(f"{found.model}:{found.version} was refused by its gates", remedy="Name a version that passed.")
    trained = found.facts.get("train.model")
    files = store.artifacts.manifest(trained).files if trained else ()
    entries = tuple(
        FileEntry(entry.path.removeprefix(INSIDE), entry.size, entry.digest)
        for entry in files
        if entry.path in (INSIDE + CONFIG, INSIDE + WEIGHTS)
    )
    if len(entries) != 2:
        raise BadInput(f"{found.model}:{found.version} has no adapter", remedy="Name a version that was trained with `method: lora`.")
    return Located(f"{REGISTRY}{found.model}@{found.version}", Manifest(KIND, entries))


def _keep(one: Located, store: Store) -> None:
    if one.folder is None:
        store.artifacts.name(one.manifest)
        return
    with tempfile.TemporaryDirectory() as made:
        for entry in one.manifest.files:
            shutil.copyfile(one.folder / entry.path, Path(made) / entry.path)
        kept = store.artifacts.commit(Path(made), KIND, {}, consume=True).digest
    if kept != one.digest:
        raise BadInput(f"the files in {one.folder} changed while they were read", remedy="Try again when nobody writes there.")


def _weights_of(description: BundleFile, store: Store) -> str | None:
    """Digest of the weights that the bundle was made from; None where the store does not have the model."""
    try:
        manifest = store.artifacts.manifest(description.made_from.get("model", ""))
    except (ArtifactMissing, BadInput):
        return None
    return weights_digest({entry.path: entry.digest for entry in manifest.files})
