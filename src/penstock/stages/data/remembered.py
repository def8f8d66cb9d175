"""Digests of files, remembered by path, size, time of change and inode: planning over a large source twice reads it once."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from penstock.core.digests import canonical, digest_file
from penstock.core.errors import SourceUnreadable
from penstock.core.files import write_atomic

ATTEMPTS = 5


def digest_of(path: Path, cache: Path) -> str:
    """Digest of a file's bytes, remembered in `cache`. A file that changes while it is read is read again."""
    note = cache / "digests" / f"{sha256(str(path.absolute()).encode()).hexdigest()[:32]}.json"
    for _ in range(ATTEMPTS):
        before = _stamp(path)
        if (known := _remembered(note, before)) is not None:
            return known
        digest = digest_file(path)
        if _stamp(path) == before:
            write_atomic(note, canonical({"stamp": before, "digest": digest}), sync=False)
            return digest
    raise SourceUnreadable(f"{path} keeps changing while it is read", remedy="Wait until it is written, or copy it.")


def _stamp(path: Path) -> list[int | str]:
    seen = path.stat()
    return [str(path.absolute()), seen.st_size, seen.st_mtime_ns, seen.st_ino]


def _remembered(note: Path, stamp: list[int | str]) -> str | None:
    try:
        value = json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None
    return str(value["digest"]) if isinstance(value, dict) and value.get("stamp") == stamp and "digest" in value else None
