"""An artifact's manifest: its kind, its files by digest, and facts about it. The artifact's digest is the manifest's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from penstock.core.digests import canonical, digest_bytes


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: POSIX path relative to the artifact's root, size in bytes, digest of its bytes."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class Manifest:
    """Immutable. `meta` holds facts that follow from the content (rows, labels, precision); never times or durations."""

    kind: str
    files: tuple[FileEntry, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def data(self) -> bytes:
        files = [[f.path, f.size, f.digest] for f in sorted(self.files, key=lambda f: f.path)]
        return canonical({"schema": 1, "kind": self.kind, "files": files, "meta": dict(self.meta)})

    @cached_property
    def digest(self) -> str:
        return digest_bytes(self.data)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files)

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        value = json.loads(data)
        return cls(value["kind"], tuple(FileEntry(*row) for row in value["files"]), value["meta"])
