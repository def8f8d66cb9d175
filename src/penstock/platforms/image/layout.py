"""Writes an image as an OCI image layout: a folder, or the tar of one, which skopeo, crane, podman and `docker load` read.

Source: OCI image specification 1.1, image-layout.md, manifest.md, config.md.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.core.digests import canonical, digest_bytes, hex_of
from penstock.core.errors import BadInput
from penstock.core.files import told_plainly
from penstock.platforms.image.contract import CONFIG, INDEX, MANIFEST, REF_NAME, Layer


@dataclass(frozen=True, slots=True)
class Built:
    """`digest`: of the manifest, by which the image is named anywhere. `size`: of what is pulled, in bytes."""

    digest: str
    size: int
    layers: tuple[Layer, ...]
    config: Mapping[str, Any]


def config_of(base: Mapping[str, Any], run: Mapping[str, Any], layers: Sequence[Layer], created: int) -> dict[str, Any]:
    """The image's configuration. `run`: what a container is started with, over what the base says; its variables over the base's."""
    before = dict(base.get("config") or {})
    variables = dict(pair.split("=", 1) for pair in (*before.get("Env", ()), *run["Env"]))
    inherited = {name: before[name] for name in ("Labels", "ExposedPorts") if before.get(name)}
    merged = {**inherited, **run, "Env": [f"{name}={value}" for name, value in variables.items()]}
    merged["Labels"] = {**inherited.get("Labels", {}), **run["Labels"]}
    history = [*(base.get("history") or ())]
    of_base = len(base.get("rootfs", {}).get("diff_ids", ()))
    history += [{"created": moment(created), "created_by": layer.says} for layer in layers[of_base:]]
    found: dict[str, Any] = {name: base[name] for name in ("variant", "os.version", "os.features") if name in base}
    return {
        **found,
        "created": moment(created),
        "architecture": base["architecture"],
        "os": "linux",
        "config": merged,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": history,
    }


def moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def free(to: Path) -> None:
    """Raises BadInput where an image would take the place of something else."""
    if to.suffix == ".tar" or not to.exists():
        return
    if not to.is_dir():
        raise BadInput(f"{to} is a file; an image is written into a folder, or into a file whose name ends in .tar")
    if any(to.iterdir()) and not (to / "oci-layout").is_file():
        raise BadInput(f"{to} holds other things than an image", remedy="Name a new folder.")


def write(to: Path, layers: Sequence[Layer], config: Mapping[str, Any], annotations: Mapping[str, str], tag: str) -> Built:
    """`to`: a folder that is made, or replaced (`free` says whether it may be); or a file whose name ends in .tar."""
    blobs: dict[str, bytes | Path] = {layer.digest: layer.file for layer in layers}
    descriptor = _data(blobs, CONFIG, canonical(config))
    rows = [{"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size} for layer in layers]
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor, "layers": rows, "annotations": dict(annotations)}
    manifest = _data(blobs, MANIFEST, canonical(body))
    platform = {"architecture": config["architecture"], "os": config["os"]}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**manifest, "platform": platform, "annotations": {REF_NAME: tag}}]}
    files: dict[str, bytes | Path] = {"oci-layout": canonical({"imageLayoutVersion": "1.0.0"}), "index.json": canonical(index)}
    files |= {f"blobs/sha256/{hex_of(digest)}": source for digest, source in sorted(blobs.items())}
    with told_plainly(to):
        if to.suffix == ".tar":
            _archive(to, files)
        else:
            _folder(to, files)
    size = sum(layer.size for layer in layers) + descriptor["size"] + manifest["size"]
    return Built(manifest["digest"], size, tuple(layers), config)


def _data(blobs: dict[str, bytes | Path], kind: str, data: bytes) -> dict[str, Any]:
    digest = digest_bytes(data)
    blobs[digest] = data
    return {"mediaType": kind, "digest": digest, "size": len(data)}


def _folder(to: Path, files: Mapping[str, bytes | Path]) -> None:
    beside = to.with_name(f".{to.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    for name, source in files.items():
        target = beside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Path):
            shutil.copyfile(source, target)
        else:
            target.write_bytes(source)
    shutil.rmtree(to, ignore_errors=True)
    beside.rename(to)


def _archive(to: Path, files: Mapping[str, bytes | Path]) -> None:
    beside = to.with_name(f".{to.name}.{os.getpid()}")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(beside, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("blobs", "blobs/sha256"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for name, source in files.items():
            info = tarfile.TarInfo(name)
            info.size = source.stat().st_size if isinstance(source, Path) else len(source)
            with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
                tar.addfile(info, file)
    beside.replace(to)
