"""Content digests: `sha256:` and 64 hex digits, over bytes, files, folders, and canonical JSON (RFC 8785 in spirit).

Canonical JSON: keys sorted, no spaces, UTF-8, floats by repr, no NaN; so equal values have equal bytes in any process.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


def canonical(value: Any) -> bytes:
    """Bytes of `value` (JSON types only) that do not depend on process, platform or order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_bytes(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    return digest_bytes(canonical(value))


def digest_file(path: str | os.PathLike[str]) -> str:
    """Digest of a file's bytes; reads 1 MiB at a time."""
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def files_under(folder: Path) -> Iterable[Path]:
    """Regular files below `folder`, sorted by relative POSIX path. Symbolic links are followed for files, never for folders."""
    found = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return sorted((p for p in found if p.is_file()), key=lambda p: p.relative_to(folder).as_posix())


def digest_folder(folder: Path) -> str:
    """Digest of a folder: of the list of its files with their digests. Times, modes and empty folders do not count."""
    return digest_json([[p.relative_to(folder).as_posix(), digest_file(p)] for p in files_under(folder)])


def hex_of(digest: str) -> str:
    """The 64 hex digits of a digest; raises ValueError on anything else."""
    scheme, _, digits = digest.partition(":")
    if scheme != "sha256" or len(digits) != 64 or not all(c in "0123456789abcdef" for c in digits):
        raise ValueError(f"not a digest: {digest!r}")
    return digits
