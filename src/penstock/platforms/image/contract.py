"""What an image is made of, and where things lie in it. What platforms rely on beside its entry stands in remote/container.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PREFIX = "opt/penstock"  # a virtual environment
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
SITE = f"{PREFIX}/lib/{PYTHON}/site-packages"
BUNDLE = "opt/bundle"
ENTRYPOINT, COMMAND = ("penstock",), ("serve",)

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a layer. `path` has no leading slash; `source` is its bytes or the file that holds them, None for a folder.

    `link`: where a symbolic link points to. `owner`: user and group.
    """

    path: str
    source: bytes | Path | None = None
    mode: int = 0o644
    link: str = ""
    owner: int = 0

    @property
    def size(self) -> int:
        if isinstance(self.source, Path):
            return self.source.stat().st_size
        return len(self.source or b"")


def folder(path: str, mode: int = 0o755, owner: int = 0) -> Entry:
    return Entry(path, None, mode, "", owner)


@dataclass(frozen=True, slots=True)
class Part:
    """What one layer shall hold. `says` goes into the image's history."""

    name: str
    entries: Sequence[Entry]
    says: str

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that lies in `file`. `diff_id`: digest of the tar inside; `says` as in Part."""

    media_type: str
    digest: str
    size: int
    diff_id: str
    file: Path
    says: str = ""
