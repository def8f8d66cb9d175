"""A layer as bytes that follow from its content alone: sorted, one time for all, numbers for owners, gzip without name and time.

Not covered: another zlib than that of this Python may compress to other bytes; the digest of the tar inside (`diff_id`) stays the same.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from penstock.core.errors import BadInput
from penstock.platforms.image.contract import LAYER_GZIP, Entry, Layer, Part, folder

LEVEL = 6


def pack(part: Part, created: int, beside: Path, level: int = LEVEL) -> Layer:
    """Writes the layer into folder `beside`. `created`: seconds since the epoch, of every file in it. `level` of gzip."""
    target = beside / f"{part.name}.tar.gz"
    with target.open("wb") as file:
        packed: Any = _Hashed(file)
        with gzip.GzipFile("", "wb", level, packed, mtime=0) as zipped:
            plain: Any = _Hashed(zipped)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                for entry in complete(part.entries):
                    _add(tar, entry, created)
    return Layer(LAYER_GZIP, packed.digest, packed.size, plain.digest, target, part.says)


def complete(entries: Iterable[Entry]) -> Sequence[Entry]:
    """Sorted, with the folders that they lie in. Raises BadInput for a path that two different things claim, or that leads out."""
    found: dict[str, Entry] = {}
    for entry in entries:
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts or str(path) != entry.path:
            raise BadInput(f"{entry.path!r} cannot be a path in an image")
        if found.setdefault(entry.path, entry) != entry and not _same(found[entry.path], entry):
            raise BadInput(f"two packages want /{entry.path}, with different bytes", remedy="Leave one of them out of the extras.")
    for name in list(found):
        for above in list(PurePosixPath(name).parents)[:-1]:
            found.setdefault(str(above), folder(str(above)))
    return [found[name] for name in sorted(found)]


def _same(one: Entry, other: Entry) -> bool:
    return (one.mode, one.link, one.owner) == (other.mode, other.link, other.owner) and _bytes(one) == _bytes(other)


def _bytes(entry: Entry) -> bytes | None:
    return entry.source.read_bytes() if isinstance(entry.source, Path) else entry.source


def _add(tar: tarfile.TarFile, entry: Entry, created: int) -> None:
    info = tarfile.TarInfo(entry.path)
    info.mode, info.mtime, info.uid, info.gid = entry.mode, created, entry.owner, entry.owner
    if entry.link:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
        tar.addfile(info)
    elif entry.source is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif isinstance(entry.source, Path):
        info.size = entry.size
        with entry.source.open("rb") as file:
            tar.addfile(info, file)
    else:
        info.size = len(entry.source)
        tar.addfile(info, io.BytesIO(entry.source))


class _Hashed:
    """Passes on what is written, and knows its digest and size."""

    def __init__(self, inner: IO[bytes] | Any) -> None:
        self._inner, self._hash, self.size = inner, hashlib.sha256(), 0

    def write(self, data: Any) -> int:
        self._hash.update(data)
        self.size += len(data)
        self._inner.write(data)
        return len(data)

    def flush(self) -> None:
        self._inner.flush()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"
