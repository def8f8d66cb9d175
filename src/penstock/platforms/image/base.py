"""The image that ours stands on: an OCI layout (folder or tar), or the tar of a root file system. It must have our Python.

Not covered: layers compressed with zstd, and images of another architecture than this machine's.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from penstock.core.digests import digest_file, hex_of
from penstock.core.errors import ArtifactCorrupt, BadInput
from penstock.platforms.image.contract import CONFIG, INDEX, LAYER_GZIP, LAYER_TAR, MANIFEST, PYTHON, Layer
from penstock.platforms.remote.container import architecture

_PYTHONS = (f"usr/local/bin/{PYTHON}", f"usr/bin/{PYTHON}", f"bin/{PYTHON}")
_DOCKER = {  # the same bytes under the names that Docker gave them first
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.docker.distribution.manifest.v2+json": MANIFEST,
    "application/vnd.docker.distribution.manifest.list.v2+json": INDEX,
    "application/vnd.docker.container.image.v1+json": CONFIG,
}
_WHITEOUT = ".wh."


@dataclass(frozen=True, slots=True)
class Base:
    """`python`: path of its interpreter. `digest`: of its manifest, empty where it has none. `files`: those of its users."""

    layers: tuple[Layer, ...]
    config: Mapping[str, Any]
    python: str
    digest: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


def read_base(path: Path, scratch: Path) -> Base:
    """Every byte is checked. Raises BadInput (no image, wrong architecture, no Python of ours), ArtifactCorrupt."""
    if path.is_dir():
        return _layout(path)
    try:
        with tarfile.open(path) as tar:
            names = set(tar.getnames())
            if names & {"oci-layout", "./oci-layout"}:
                tar.extractall(scratch / "base", filter="data")
                return _layout(scratch / "base")
    except (tarfile.TarError, OSError) as error:
        raise BadInput(f"{path} is neither an OCI layout nor a tar ({error})") from error
    return _rooted(path)


def _layout(folder: Path) -> Base:
    if not (folder / "oci-layout").is_file() or not (folder / "index.json").is_file():
        raise BadInput(f"{folder} is no OCI image layout", remedy="skopeo copy docker://IMAGE@DIGEST oci:FOLDER")
    row = _chosen(folder, json.loads((folder / "index.json").read_bytes()))
    manifest = json.loads(_blob(folder, row).read_bytes())
    config = json.loads(_blob(folder, manifest["config"]).read_bytes())
    if config.get("architecture") != architecture():
        raise BadInput(f"the base is for {config.get('architecture')}, this machine is {architecture()}")
    diff_ids = config["rootfs"]["diff_ids"]
    layers = []
    for one, diff_id in zip(manifest["layers"], diff_ids, strict=True):
        kind = _DOCKER.get(one["mediaType"], one["mediaType"])
        if kind not in (LAYER_GZIP, LAYER_TAR):
            raise BadInput(f"the base has a layer of type {kind}", remedy="Convert it to gzip (skopeo copy --dest-compress-format gzip).")
        layers.append(Layer(kind, one["digest"], one["size"], diff_id, _blob(folder, one)))
    return _with_python(Base(tuple(layers), config, "", row["digest"]))


def _chosen(folder: Path, index: Mapping[str, Any]) -> Mapping[str, Any]:
    """The manifest for this machine, through indexes of indexes."""
    rows = [row for row in index["manifests"] if _DOCKER.get(row["mediaType"], row["mediaType"]) in (INDEX, MANIFEST)]
    fit = [row for row in rows if row.get("platform", {}).get("architecture", architecture()) == architecture()]
    if not fit:
        raise BadInput(f"the base has no image for {architecture()}")
    first = fit[0]
    if _DOCKER.get(first["mediaType"], first["mediaType"]) == INDEX:
        return _chosen(folder, json.loads(_blob(folder, first).read_bytes()))
    return cast(Mapping[str, Any], first)


def _blob(folder: Path, row: Mapping[str, Any]) -> Path:
    path = folder / "blobs" / "sha256" / hex_of(row["digest"])
    if not path.is_file() or path.stat().st_size != row["size"] or digest_file(path) != row["digest"]:
        raise ArtifactCorrupt(f"the base lacks the blob {row['digest']}, or has other bytes under that name", where=str(folder))
    return path


def _rooted(path: Path) -> Base:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    digest = hashlib.sha256()
    with _plain(path, zipped) as plain:
        while data := plain.read(1 << 20):
            digest.update(data)
    kind = LAYER_GZIP if zipped else LAYER_TAR
    layer = Layer(kind, digest_file(path), path.stat().st_size, f"sha256:{digest.hexdigest()}", path, "root file system given")
    return _with_python(Base((layer,), {"architecture": architecture(), "os": "linux"}, ""))


def _with_python(base: Base) -> Base:
    names: set[str] = set()
    files: dict[str, bytes] = {}
    for layer in base.layers:
        for name, data in _members(layer):
            parent, _, last = name.rpartition("/")
            if last.startswith(_WHITEOUT):
                gone = f"{parent}/{last.removeprefix(_WHITEOUT)}".lstrip("/")
                names = {one for one in names if one != gone and not one.startswith(f"{gone}/")}
            names.add(name)
            if data is not None:
                files[name] = data
    python = next((path for path in _PYTHONS if path in names), None)
    if python is None:
        raise BadInput(f"the base has no {PYTHON}, which the packages here are made for", remedy=f"Use one with /{_PYTHONS[0]}.")
    return Base(base.layers, base.config, python, base.digest, files)


def _members(layer: Layer) -> Iterator[tuple[str, bytes | None]]:
    with _plain(layer.file, layer.media_type == LAYER_GZIP) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
        for member in tar:
            name = member.name.removeprefix("./").strip("/")
            wanted = name in ("etc/passwd", "etc/group") and member.isfile()
            file = tar.extractfile(member) if wanted else None
            yield name, file.read() if file is not None else None


def _plain(path: Path, zipped: bool) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path) if zipped else path.open("rb"))
