"""The file of what gateway keys have used, which all gateway processes of a folder map into memory: `limits/state`.

A row per key ever seen, 65 blocks of eight doubles. Block 0 is shared: two bucket times, and the key's id. Each other block belongs to one
process at a time (a *slot*, held by a file lock that the system takes back when the process dies), so sums need no lock: only its owner
writes a block, everybody reads all (spend_row.py). The file is the kernel's as soon as a number is stored: `kill -9` loses nothing; a power
cut loses what the kernel had not written back (about 30 s). What a killed process had reserved counts as spent when its slot is taken over.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.serving.spend import BLOCK, ID_BYTES, IN_FLIGHT, MAGIC, MARK, RESERVED, ROW, SLOTS, Calendar, SpendUnreadable, rows_of
from penstock.serving.spend_row import credit

_SPARE = 16  # rows that the file grows by beyond what is needed


class Book:
    """The file, mapped. `mine` is the offset of this process's block in a row, in doubles."""

    def __init__(self, folder: Path | None) -> None:
        """Makes the file where there is none and takes a slot; without a folder it lies in memory. Raises SpendUnreadable."""
        self.folder = folder
        self.rows: dict[str, int] = {}  # key id: first double of its row
        self._slot_lock = self._lock = -1
        if folder is None:
            self._use(mmap.mmap(-1, 8 * (BLOCK + ROW * _SPARE)))
            self.bytes[:8], self.view[1], self.mine = MAGIC, 1.0, BLOCK
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            with self.locked():
                self._map(folder)
                self._claim(folder)
        except (OSError, SpendUnreadable) as error:
            self.close()
            raise SpendUnreadable(f"{folder / 'state'}: {error}") from error

    def close(self) -> None:
        """Gives the slot back; what it holds stays in the sums."""
        for handle in (self._slot_lock, self._lock):
            if handle >= 0:
                os.close(handle)
        self._slot_lock = self._lock = -1

    @contextmanager
    def locked(self) -> Iterator[None]:
        if self.folder is None:
            yield
            return
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def hold(self, patience_s: float = 0.001) -> bool:
        """The same lock for the hot path: False when somebody keeps it longer than `patience_s` (a stopped process must stop no other)."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            end = time.monotonic() + patience_s
            while time.monotonic() < end:
                try:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                except BlockingIOError:
                    time.sleep(0)
            return False

    def release(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _map(self, folder: Path) -> None:
        """Maps the whole file (made where there is none) and reads which key has which row. Wants the lock."""
        handle = os.open(folder / "state", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            if os.fstat(handle).st_size == 0:
                os.posix_fallocate(handle, 0, 8 * BLOCK)
                os.pwrite(handle, MAGIC, 0)
            self._use(mmap.mmap(handle, os.fstat(handle).st_size // 8 * 8))
        finally:
            os.close(handle)
        self.rows = dict(rows_of(self.bytes, self.view))

    def _use(self, mapped: mmap.mmap) -> None:
        self.bytes, self.view = mapped, memoryview(mapped).cast("d")

    def assign(self, idents: Iterable[str]) -> None:
        """A row for each key that has none; the file grows before anything is stored (a full disk is an error here, not a crash later)."""
        missing = [ident for ident in idents if ident not in self.rows]
        if not missing:
            return
        with self.locked():
            if self.folder is not None:
                self._map(self.folder)  # another process may have made them
            missing = [ident for ident in missing if ident not in self.rows]
            start = BLOCK + ROW * int(self.view[2])
            if start + ROW * len(missing) > len(self.view):
                self._grow(start + ROW * (len(missing) + _SPARE))
            for ident in missing:
                encoded = ident.encode()
                if len(encoded) > ID_BYTES:
                    raise SpendUnreadable(f"the key id {ident[:60]!r} is longer than {ID_BYTES} bytes")
                for slot in range(SLOTS):
                    self.view[start + BLOCK * (slot + 1) + MARK] = 1.0
                self.bytes[8 * start + 16 : 8 * start + 16 + len(encoded)] = encoded
                self.rows[ident], start = start, start + ROW
                self.view[2] += 1.0
            self.bytes.flush()

    @property
    def slots(self) -> int:
        """How many blocks of a row have ever had an owner."""
        return int(self.view[1])

    def _grow(self, doubles: int) -> None:
        if self.folder is None:
            larger = mmap.mmap(-1, 8 * doubles)
            larger[: len(self.bytes)] = self.bytes[:]
            self._use(larger)
            return
        handle = os.open(self.folder / "state", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.posix_fallocate(handle, 0, 8 * doubles)
        finally:
            os.close(handle)
        self._map(self.folder)

    def _claim(self, folder: Path) -> None:
        """Takes the first free slot, and settles what dead owners of any slot left open."""
        taken, calendar = -1, Calendar()
        calendar.turn(time.time())
        for slot in range(SLOTS):
            handle = os.open(folder / f"slot-{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            self._bury(slot, calendar)
            if taken < 0:
                taken, self._slot_lock = slot, handle
            else:
                os.close(handle)
            if slot >= self.slots:
                break
        if taken < 0:
            raise SpendUnreadable(f"{SLOTS} gateway processes use it already")
        self.mine = BLOCK * (1 + taken)
        self.view[1] = max(self.view[1], taken + 1.0)

    def _bury(self, slot: int, calendar: Calendar) -> None:
        """Nobody will settle what the slot's last owner had in flight: it counts as spent."""
        for row in self.rows.values():
            block = row + BLOCK * (1 + slot)
            if (held := self.view[block + RESERVED]) > 0:
                credit(self.view, row, block, held, calendar)
            self.view[block + RESERVED] = self.view[block + IN_FLIGHT] = 0.0
