"""Files written beside, synced, then named: a reader sees the old bytes or the new, never half."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from penstock.core.errors import DiskFull, PenstockError, ReadOnly


@contextlib.contextmanager
def told_plainly(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals into DiskFull and ReadOnly, naming the path."""
    try:
        yield
    except OSError as error:
        raise in_plain_words(error, path) from error


def in_plain_words(error: OSError, path: Path) -> PenstockError | OSError:
    """DiskFull or ReadOnly where the system refused for that reason, else the error itself."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no space left while writing {path}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ReadOnly(f"{path} cannot be written ({error.strerror})")
    return error


def write_atomic(path: Path, data: bytes, *, sync: bool = True, mode: int = 0o644) -> None:
    """Replaces `path` with `data`. Raises DiskFull or ReadOnly; on any failure the old file stays and nothing is left beside it."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    with told_plainly(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
