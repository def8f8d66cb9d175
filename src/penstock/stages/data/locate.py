"""Where a source's bytes lie on this machine, and their digest: what planning needs before any row is read.

Digests are remembered by path, size, time of change and inode, so a second plan reads nothing. Loads no table library.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

from penstock.core.digests import canonical, digest_file
from penstock.core.errors import SourceUnreadable
from penstock.core.files import write_atomic
from penstock.spec.pipeline import Source
from penstock.stages.data.catalog import Located, entry_named, find_mirror, resolve
from penstock.stages.data.remote import fetch

ATTEMPTS = 5


def locate(source: Source, beside: Path, cache: Path) -> Located:
    """`beside` is the folder that relative paths start from. Raises SourceUnreadable, ArtifactCorrupt (a wrong checksum), BadInput."""
    if source.dataset is not None:
        return resolve(entry_named(source.dataset), find_mirror(beside), cache)
    uri = source.uri or ""
    scheme = urlsplit(uri).scheme
    if len(scheme) > 1 and scheme != "file":  # one letter is a drive
        path = fetch(uri, cache / "sources")
        return Located(path, digest_of(path, cache), f"fetched from {uri}")
    path = beside / (unquote(urlsplit(uri).path) if scheme == "file" else os.path.expanduser(uri))
    _require_file(path, uri)
    return Located(path, digest_of(path, cache), uri)


def _require_file(path: Path, uri: str) -> None:
    if path.is_dir():
        raise SourceUnreadable(f"{uri} is a folder ({path})", remedy="Name each file as a source of its own.")
    if not path.exists():
        raise SourceUnreadable(
            f"{uri} does not exist (looked at {path.absolute()})", remedy="Paths are relative to the pipeline file's folder."
        )
    if not os.access(path, os.R_OK):
        raise SourceUnreadable(f"{uri} may not be read by this user", remedy="Change its permissions.")


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
