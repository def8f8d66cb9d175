"""Files whose bytes this process has checked: hashed once, then known by inode, size and times until any of these change.

Not covered: bytes that rot on the disk after the check; a new process checks again.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from penstock.core.digests import digest_file


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was when looked at. The time of change cannot be set by a program, so copied times deceive nobody."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


_RACY_NS = 50_000_000  # two writes within one tick of the file system's clock leave the same times
_MOST = 200_000
_digests: dict[Seen, str] = {}


def snapshot(path: Path) -> Seen:
    found = os.stat(path)
    return Seen(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def digest_of(path: Path, *, owned: bool = False) -> str:
    """Digest of a file's bytes; read only when this process has not read these very bytes before. Raises OSError.

    `owned`: nobody but the store writes the file, so that even one written this instant is known from now on.
    """
    seen = snapshot(path)
    known = _digests.get(seen)
    if known is None:
        settled = owned or time.time_ns() - seen.changed_ns > _RACY_NS
        known = digest_file(path)
        if settled and snapshot(path) == seen:
            _remember(seen, known)
    return known


def digest_now(path: Path) -> str:
    """Reads a file of the store that was just written, whatever was known of its inode before."""
    digest = digest_file(path)
    _remember(snapshot(path), digest)
    return digest


def carry(path: Path, before: Seen) -> None:
    """The caller changed the file's times, links or name, and not a byte: what was known stays known."""
    known = _digests.pop(before, None)
    if known is not None:
        _remember(snapshot(path), known)


def _remember(seen: Seen, digest: str) -> None:
    if len(_digests) >= _MOST:
        _digests.clear()
    _digests[seen] = digest
