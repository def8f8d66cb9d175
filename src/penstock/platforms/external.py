"""Bytes from outside the store (data sources, base models), verified by digest before a step may read them.

A digest once computed is remembered by path, size, time of change and inode, so that a large file is hashed once a machine.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from penstock.core.digests import digest_bytes, digest_file, digest_folder, files_under, hex_of
from penstock.core.errors import BadInput, SourceUnreadable
from penstock.core.files import told_plainly, write_atomic

_REPLAN = "Put the planned bytes back, or run again: the plan will use what is there now."


def verified(digest: str, place: str, cache: Path) -> Path:
    """The file or folder at `place` (a path, or any fsspec URL) with the bytes that `digest` names. Raises BadInput when they changed."""
    if "://" in place and not place.startswith("file://"):
        return _fetched(digest, place, cache)
    path = Path(unquote(urlsplit(place).path)) if place.startswith("file://") else Path(place)
    if not path.exists():
        raise SourceUnreadable(f"{path} does not exist any more", remedy=_REPLAN)
    found = known_digest(path, cache)
    if found != digest:
        raise BadInput(f"{path} changed since the plan was made: {found}, planned {digest}", remedy=_REPLAN)
    return path


def known_digest(path: Path, cache: Path) -> str:
    """Digest of a file or folder, from memory when nothing about it changed."""
    signature = _signature(path)
    memory = cache / "external" / f"{hex_of(digest_bytes(os.fsencode(path.absolute())))}.json"
    try:
        known = json.loads(memory.read_bytes())
        if known["signature"] == signature:
            return str(known["digest"])
    except (FileNotFoundError, ValueError, KeyError):
        pass  # never seen, or a memory cut short by a crash: compute it anew
    digest = digest_folder(path) if path.is_dir() else digest_file(path)
    write_atomic(memory, json.dumps({"path": str(path), "signature": signature, "digest": digest}).encode(), sync=False)
    return digest


def _signature(path: Path) -> list[list[object]]:
    files = files_under(path) if path.is_dir() else [path]
    stats = [(file, file.stat()) for file in files]
    return [[file.relative_to(path).as_posix(), s.st_size, s.st_mtime_ns, s.st_ino] for file, s in stats]


def _fetched(digest: str, url: str, cache: Path) -> Path:
    path = cache / "fetched" / hex_of(digest) / Path(urlsplit(url).path).name
    if path.exists():
        return path
    import fsspec

    beside = path.with_name(f".{secrets.token_hex(6)}.part")
    with told_plainly(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with fsspec.open(url, "rb") as source, open(beside, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            found = digest_file(beside)
            if found != digest:
                raise BadInput(f"{url} has digest {found}, planned {digest}", remedy=_REPLAN)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    return path
