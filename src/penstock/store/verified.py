"""Files whose bytes this process has checked: hashed once, then known by inode, size and time of change.

Not covered: bytes that rot on the disk after the check; a new process checks again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from penstock.core.digests import digest_file


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was when looked at."""

    device: int
    inode: int
    size: int
    modified_ns: int


_digests: dict[Seen, str] = {}


def snapshot(path: Path) -> Seen:
    found = os.stat(path)
    return Seen(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def digest_of(path: Path) -> str:
    """Digest of a file's bytes; read only when this process has not read these very bytes before. Raises OSError."""
    seen = snapshot(path)
    known = _digests.get(seen)
    if known is None:
        known = digest_file(path)
        if snapshot(path) == seen:
            _digests[seen] = known
    return known


def retimed(path: Path, before: Seen) -> None:
    """The caller set the file's time and nothing else: what was known stays known."""
    known = _digests.pop(before, None)
    if known is not None:
        _digests[snapshot(path)] = known
