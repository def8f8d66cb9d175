"""Holds an OCI image layout to the specification, and says everything that is wrong with it.

Source: OCI image specification 1.1: image-layout.md, image-index.md, manifest.md, config.md, descriptor.md, layer.md, annotations.md.
Where the specification says SHOULD, this says must: what is checked here is what Penstock itself wrote.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from penstock.platforms.image.contract import CONFIG, INDEX, LAYER_GZIP, LAYER_TAR, MANIFEST

_MEDIA = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9]+(?:(?:--|[-._:@/+])[A-Za-z0-9]+)*")  # the grammar of org.opencontainers.image.ref.name
_PORT = re.compile(r"[0-9]{1,5}(/(tcp|udp))?")
_ARCHITECTURES = ("386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x")  # GOARCH that Linux has
_DESCRIPTOR = frozenset({"mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"})
_STARTED: Mapping[str, Callable[[Any], bool]] = {
    "User": lambda v: isinstance(v, str),
    "ExposedPorts": lambda v: isinstance(v, dict) and all(_PORT.fullmatch(port) and inner == {} for port, inner in v.items()),
    "Env": lambda v: _words(v) and all("=" in one and not one.startswith("=") for one in v),
    "Entrypoint": lambda v: _words(v),
    "Cmd": lambda v: _words(v),
    "Volumes": lambda v: isinstance(v, dict) and all(inner == {} for inner in v.values()),
    "WorkingDir": lambda v: isinstance(v, str) and (not v or v.startswith("/")),
    "Labels": lambda v: _strings(v),
    "StopSignal": lambda v: isinstance(v, str) and re.fullmatch(r"SIG[A-Z0-9+-]+|[0-9]+", v) is not None,
    "ArgsEscaped": lambda v: isinstance(v, bool),
}


@dataclass(slots=True)
class Checked:
    """`problems` is empty for an image that is sound; the rest is what it says of itself."""

    problems: list[str] = field(default_factory=list)
    digest: str = ""
    tag: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def say(self, wrong: bool, text: str) -> bool:
        if wrong:
            self.problems.append(text)
        return not wrong


def check(folder: Path) -> Checked:
    """Reads every byte of the layout. One image is expected."""
    found = Checked()
    marker = _read(folder / "oci-layout", found)
    found.say(marker.get("imageLayoutVersion") != "1.0.0", "oci-layout: imageLayoutVersion must be 1.0.0")
    found.say(not (folder / "blobs").is_dir(), "blobs: the folder is missing")
    index = _read(folder / "index.json", found)
    found.say(index.get("schemaVersion") != 2, "index.json: schemaVersion must be 2")
    found.say(index.get("mediaType", INDEX) != INDEX, f"index.json: mediaType must be {INDEX}")
    rows = index.get("manifests")
    if not found.say(not isinstance(rows, list) or len(rows) != 1, "index.json: manifests must list one image"):
        return found
    row = rows[0] if isinstance(rows, list) else {}
    used = set[str]()
    body = _blob(folder, row, "index.json: manifests[0]", MANIFEST, found, used)
    if body is None:
        return found
    found.digest, found.tag = row["digest"], (row.get("annotations") or {}).get("org.opencontainers.image.ref.name", "")
    found.say(not _TAG.fullmatch(found.tag), f"index.json: {found.tag!r} is no reference name")
    found.manifest = _parsed(body.read_bytes(), "manifest", found)
    _manifest(folder, row, found, used)
    for path in sorted((folder / "blobs").rglob("*")):
        name = path.relative_to(folder / "blobs").as_posix()
        found.say(path.is_file() and name.replace("/", ":") not in used, f"blobs/{name}: nothing refers to it")
    return found


def _manifest(folder: Path, row: Mapping[str, Any], found: Checked, used: set[str]) -> None:
    manifest = found.manifest
    known = {"schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations"}
    found.say(bool(set(manifest) - known), f"manifest: unknown {sorted(set(manifest) - known)}")
    found.say(manifest.get("schemaVersion") != 2, "manifest: schemaVersion must be 2")
    found.say(manifest.get("mediaType") != MANIFEST, f"manifest: mediaType must be {MANIFEST}")
    found.say(not _strings(manifest.get("annotations", {})), "manifest: annotations must map strings to strings")
    about = _blob(folder, manifest.get("config"), "manifest: config", CONFIG, found, used)
    if about is not None:
        found.config = _parsed(about.read_bytes(), "config", found)
        _config(found, row)
    layers = manifest.get("layers")
    if not found.say(not isinstance(layers, list) or not layers, "manifest: layers must list at least one") or not isinstance(layers, list):
        return
    diff_ids = (found.config.get("rootfs") or {}).get("diff_ids") or []
    found.say(len(diff_ids) != len(layers), f"config: {len(diff_ids)} diff_ids for {len(layers)} layers")
    for at, (layer, diff_id) in enumerate(zip(layers, diff_ids, strict=False)):
        file = _blob(folder, layer, f"layer {at}", (LAYER_GZIP, LAYER_TAR), found, used)
        if file is not None:
            _layer(file, layer["mediaType"] == LAYER_GZIP, diff_id, f"layer {at}", found)


def _config(found: Checked, row: Mapping[str, Any]) -> None:
    config = found.config
    known = {"created", "author", "architecture", "variant", "os", "os.version", "os.features", "config", "rootfs", "history"}
    found.say(bool(set(config) - known), f"config: unknown {sorted(set(config) - known)}")
    found.say(config.get("os") != "linux", "config: os must be linux")
    found.say(config.get("architecture") not in _ARCHITECTURES, f"config: {config.get('architecture')!r} is no GOARCH")
    platform = row.get("platform") or {}
    same = all(platform.get(name) == config.get(name) for name in ("os", "architecture"))
    found.say(not same, "index.json: platform is not that of the config")
    found.say(not _moment(config.get("created")), "config: created must be a time of RFC 3339")
    rootfs = config.get("rootfs")
    right = isinstance(rootfs, dict) and rootfs.get("type") == "layers" and _words(rootfs.get("diff_ids"))
    if found.say(not right, "config: rootfs must have type layers and diff_ids") and isinstance(rootfs, dict):
        found.say(not all(_DIGEST.fullmatch(one) for one in rootfs["diff_ids"]), "config: a diff_id is no digest")
        history = config.get("history", [])
        filled = [one for one in history if isinstance(one, dict) and not one.get("empty_layer")]
        found.say(bool(history) and len(filled) != len(rootfs["diff_ids"]), "config: history and layers differ in number")
        found.say(not all(_moment(one.get("created")) for one in history), "config: a time in history does not read")
    started = config.get("config") or {}
    for name, value in started.items():
        right = name in _STARTED and _STARTED[name](value)
        found.say(not right, f"config: config.{name} is {'not known' if name not in _STARTED else 'of the wrong form'}")


def _layer(file: Path, zipped: bool, diff_id: str, where: str, found: Checked) -> None:
    names = set[str]()
    try:
        with gzip.open(file) if zipped else file.open("rb") as inside:
            plain: Any = _Hashed(inside)
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                for member in tar:
                    _member(member, names, where, found)
            while plain.read(1 << 20):
                pass  # what lies behind the end of the archive counts too
        found.say(plain.digest != diff_id, f"{where}: the tar inside has another digest than its diff_id")
    except (OSError, EOFError, tarfile.TarError) as error:
        found.say(True, f"{where}: does not read ({error})")


class _Hashed:
    """Reads on, and knows the digest of what was read."""

    def __init__(self, inner: Any) -> None:
        self._inner, self._hash = inner, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data: bytes = self._inner.read(size)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _member(member: tarfile.TarInfo, names: set[str], where: str, found: Checked) -> None:
    path = PurePosixPath(member.name)
    found.say(path.is_absolute() or ".." in path.parts, f"{where}: {member.name} leads out of the root")
    found.say(str(path) in names, f"{where}: {member.name} is there twice")
    parents = {str(parent) for parent in path.parents} - {".", "/"}
    found.say(not parents <= names, f"{where}: {member.name} comes before its folder")
    found.say(not (member.isfile() or member.isdir() or member.issym() or member.islnk()), f"{where}: {member.name} is a special file")
    found.say(bool(member.mode & 0o6000), f"{where}: {member.name} runs with the rights of its owner")
    found.say(member.isfile() and bool(member.mode & 0o022), f"{where}: {member.name} can be written by anybody")
    names.add(str(path))


def _blob(folder: Path, row: Any, where: str, kinds: str | tuple[str, ...], found: Checked, used: set[str]) -> Path | None:
    """The file that a descriptor names, when all of it is right."""
    if not found.say(not isinstance(row, dict), f"{where}: no descriptor"):
        return None
    kind, digest, size = row.get("mediaType", ""), row.get("digest", ""), row.get("size")
    found.say(bool(set(row) - _DESCRIPTOR), f"{where}: unknown {sorted(set(row) - _DESCRIPTOR)}")
    found.say(not isinstance(kind, str) or not _MEDIA.fullmatch(kind), f"{where}: {kind!r} is no media type")
    found.say(kind not in ((kinds,) if isinstance(kinds, str) else kinds), f"{where}: media type {kind} does not belong here")
    found.say(not _strings(row.get("annotations", {})), f"{where}: annotations must map strings to strings")
    if not found.say(not isinstance(digest, str) or not _DIGEST.fullmatch(digest), f"{where}: {digest!r} is no sha256 digest"):
        return None
    used.add(digest)
    path = folder / "blobs" / digest.replace(":", "/")
    if not found.say(not path.is_file(), f"{where}: its blob is missing"):
        return None
    found.say(isinstance(size, bool) or size != path.stat().st_size, f"{where}: says {size} bytes, its blob has {path.stat().st_size}")
    with path.open("rb") as file:
        actual = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    return path if found.say(actual != digest, f"{where}: its blob has other bytes than its digest says") else None


def _read(path: Path, found: Checked) -> dict[str, Any]:
    if not found.say(not path.is_file(), f"{path.name}: the file is missing"):
        return {}
    return _parsed(path.read_bytes(), path.name, found)


def _parsed(data: bytes, where: str, found: Checked) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        value = None
        found.say(True, f"{where}: is not JSON ({error})")
    found.say(value is not None and not isinstance(value, dict), f"{where}: must be a JSON object")
    return value if isinstance(value, dict) else {}


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _strings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and k and isinstance(v, str) for k, v in value.items())


def _moment(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False
