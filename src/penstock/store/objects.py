"""Named bytes that an artifact store is made of, in a local folder or behind fsspec.

Names: `blobs/ab/HEX`, `manifests/ab/HEX`, `notes/…`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from penstock.core.digests import hex_of
from penstock.core.errors import BadInput


@dataclass(frozen=True, slots=True)
class Stored:
    """`modified_at`: seconds since the epoch, by the clock of whatever holds it."""

    name: str
    size: int
    modified_at: float


class Objects(Protocol):
    def read(self, name: str) -> bytes | None:
        """None when there is none of that name."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replaces; a reader sees the old bytes or the new."""
        ...

    def add(self, name: str, source: Path, digest: str, consume: bool) -> None:
        """Stores a file's bytes after checking that they have `digest`. `consume`: the source may be moved away."""
        ...

    def refresh(self, name: str, digest: str, size: int) -> bool:
        """True when it is there and sound as far as can be told without moving it; it then counts as written now."""
        ...

    def exists(self, name: str, size: int) -> bool:
        """It is there with that size."""
        ...

    def fetch(self, name: str, digest: str) -> Path | None:
        """A local file with these bytes, checked by this process. None: there is none. Raises ArtifactCorrupt."""
        ...

    def check(self, name: str, digest: str) -> bool:
        """Reads the bytes where they are stored. False: there are none. Raises ArtifactCorrupt."""
        ...

    def list(self, prefix: str) -> Iterator[Stored]: ...

    def remove(self, name: str, unless_since: float | None = None) -> bool:
        """False when it was not there, or was written after `unless_since`."""
        ...


def blob_name(digest: str) -> str:
    digits = hex_of(digest)
    return f"blobs/{digits[:2]}/{digits}"


def manifest_name(digest: str) -> str:
    digits = hex_of(digest)
    return f"manifests/{digits[:2]}/{digits}"


def safe_name(name: str) -> str:
    """A relative POSIX path that stays below its root. Raises BadInput."""
    path = PurePosixPath(name)
    parts = name.split("/")
    if not name or path.is_absolute() or "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise BadInput(f"{name!r} is not a name inside an artifact: write a relative path without '..'")
    return name
