"""Objects in a local folder: written beside, checked, then named by a rename; blobs are read-only files."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from penstock.core.digests import digest_file
from penstock.core.errors import ArtifactCorrupt
from penstock.core.files import told_plainly, write_atomic
from penstock.store import verified
from penstock.store.objects import Stored

_SYNC_FROM_BYTES = 1 << 20


class LocalObjects:
    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        write_atomic(self.root / name, data, sync=False, mode=0o644)

    def add(self, name: str, source: Path, digest: str, consume: bool) -> None:
        target = self.root / name
        beside = self.beside()
        with told_plainly(target):
            try:
                _bring(source, beside, consume)
                beside.chmod(0o444)
                os.utime(beside)  # a file moved here may be old, and young is what a collection spares
                if verified.digest_now(beside) != digest:
                    raise ArtifactCorrupt(f"{source.name} changed while it was stored: expected {digest}", where=str(source))
                _sync_if_dear(beside)
                self.name(beside, target)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise

    def beside(self) -> Path:
        """A fresh name on the same file system, swept when a crash leaves it."""
        folder = self.root / "parts"
        with told_plainly(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder / secrets.token_hex(8)

    @staticmethod
    def name(beside: Path, target: Path) -> None:
        before = verified.snapshot(beside)
        try:
            os.replace(beside, target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(beside, target)
        verified.carry(target, before)

    def refresh(self, name: str, digest: str, size: int) -> bool:
        path = self.root / name
        try:
            before = verified.snapshot(path)
            if before.size != size or verified.digest_of(path, owned=True) != digest:
                return False
            os.utime(path)
            verified.carry(path, before)
        except FileNotFoundError:
            return False
        return True

    def exists(self, name: str, size: int) -> bool:
        try:
            return (self.root / name).stat().st_size == size
        except FileNotFoundError:
            return False

    def fetch(self, name: str, digest: str) -> Path | None:
        path = self.root / name
        try:
            found = verified.digest_of(path, owned=True)
        except FileNotFoundError:
            return None
        if found != digest:
            raise ArtifactCorrupt(f"stored bytes have digest {found} instead of {digest}", where=str(path))
        return path

    def check(self, name: str, digest: str) -> bool:
        try:
            found = digest_file(self.root / name)
        except FileNotFoundError:
            return False
        if found != digest:
            raise ArtifactCorrupt(f"stored bytes have digest {found} instead of {digest}", where=str(self.root / name))
        return True

    def list(self, prefix: str) -> Iterator[Stored]:
        for folder, _, names in os.walk(self.root / prefix):
            for name in sorted(names):
                path = Path(folder, name)
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                yield Stored(path.relative_to(self.root).as_posix(), found.st_size, found.st_mtime)

    def remove(self, name: str, unless_since: float | None = None) -> bool:
        path = self.root / name
        if unless_since is None:
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            return True
        aside = self.beside()
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return False
        # A commit that found this blob in place refreshed its time before it relied on it: then it goes back.
        if aside.stat().st_mtime > unless_since:
            self.name(aside, path)
            return False
        aside.unlink()
        return True


def _sync_if_dear(path: Path) -> None:
    """A power cut may cost a small file, which its digest tells and a step makes again; it must not cost weights."""
    if path.stat().st_size < _SYNC_FROM_BYTES:
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bring(source: Path, beside: Path, consume: bool) -> None:
    """Moved when it may be and lies on the same file system, copied otherwise; a link's target is never moved."""
    if consume and not source.is_symlink() and source.stat().st_nlink == 1:
        try:
            os.rename(source, beside)
        except OSError:
            shutil.copyfile(source, beside)
    else:
        shutil.copyfile(source, beside)
