"""What gateway keys have used, in one memory-mapped file that all gateway processes of a folder share: `limits/state`.

A row per key ever seen, 65 blocks of eight doubles. Block 0 is shared: two bucket times, and the key's id. Each other block belongs to one
process at a time (a *slot*, held by a file lock that the system takes back when the process dies), so sums need no lock: only its owner
writes a block, everybody reads all. The file is the kernel's as soon as a number is stored: `kill -9` loses nothing; a power cut
loses what the kernel had not written back (about 30 s). What a killed process had reserved counts as spent when its slot is taken over.

Budget periods are UTC days and months of the wall clock. A row never goes back to an earlier period, whatever the clock says.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"PNSTKLM1"
SLOTS, BLOCK = 64, 8  # blocks of a row beside the shared one; doubles in a block
ROW = BLOCK * (SLOTS + 1)
IN_FLIGHT, RESERVED, DAY, DAY_USD, MONTH, MONTH_USD, TOTAL_USD, MARK = range(BLOCK)
PERIODS = {"day": (DAY, DAY_USD), "month": (MONTH, MONTH_USD)}
_DAY_S, _ID_BYTES, _SPARE = 86400, 48, 16


class SpendUnreadable(Exception):
    """The file or a row of it cannot be trusted; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Spend:
    """USD spent by one key in the present UTC day and month, and since it exists."""

    day_usd: float
    month_usd: float
    total_usd: float


class Calendar:
    """Numbers of the present UTC day and month. They never go back while the process lives."""

    def __init__(self) -> None:
        self.day = self.month = 0
        self._ends = -math.inf

    def turn(self, wall: float) -> None:
        """Call before reading; costs one comparison within a day."""
        if wall >= self._ends:
            day = int(wall // _DAY_S)
            gone = time.gmtime(day * _DAY_S)
            self.day, self.month, self._ends = day, gone.tm_year * 12 + gone.tm_mon, (day + 1) * _DAY_S

    def ends_in_s(self, period: str, wall: float) -> float:
        """Seconds until a new budget, by the wall clock."""
        if period == "day":
            return max((int(wall // _DAY_S) + 1) * _DAY_S - wall, 0.0)
        now = time.gmtime(wall)
        following = (now.tm_year + now.tm_mon // 12, now.tm_mon % 12 + 1)
        return max(_epoch(*following) - wall, 0.0)


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
        self.rows = dict(_rows(self.bytes, self.view))

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
                if len(encoded) > _ID_BYTES:
                    raise SpendUnreadable(f"the key id {ident[:60]!r} is longer than {_ID_BYTES} bytes")
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

    def spent(self, row: int, period: str, calendar: Calendar) -> float:
        """USD of the present period, all processes together. Raises SpendUnreadable when the row is damaged."""
        view, total = self.view, 0.0
        first, last = row + BLOCK, row + BLOCK * (1 + self.slots)
        if period == "total":
            total = sum(view[first + TOTAL_USD : last : BLOCK])
        else:
            which, amount = PERIODS[period]
            current = self._current(row, which, calendar)
            for block in range(first, last, BLOCK):
                if view[block + which] == current:
                    total += view[block + amount]
        marked = view[first + MARK] if last - first == BLOCK else min(view[first + MARK : last : BLOCK])
        if not (0.0 <= total < math.inf and marked == 1.0):
            raise SpendUnreadable("the row of this key is damaged")
        return total

    def reserved(self, row: int) -> float:
        """USD held for requests in flight, all processes together."""
        if self.view[1] == 1.0:
            return self.view[row + BLOCK + RESERVED]
        return float(sum(self.view[row + BLOCK + RESERVED : row + BLOCK * (1 + self.slots) : BLOCK]))

    def in_flight(self, row: int) -> int:
        if self.view[1] == 1.0:
            return int(self.view[row + BLOCK + IN_FLIGHT])
        return int(sum(self.view[row + BLOCK + IN_FLIGHT : row + BLOCK * (1 + self.slots) : BLOCK]))

    def add(self, row: int, usd: float, calendar: Calendar) -> None:
        """Adds to this process's block."""
        view, block = self.view, row + self.mine
        if view[1] == 1.0 and view[block + DAY] == calendar.day and view[block + MONTH] == calendar.month:
            view[block + DAY_USD] += usd  # one process, no period over: nearly always
            view[block + MONTH_USD] += usd
            view[block + TOTAL_USD] += usd
        else:
            self._add(row, block, usd, calendar)

    def _add(self, row: int, block: int, usd: float, calendar: Calendar) -> None:
        view = self.view
        for which, amount in PERIODS.values():
            current = self._current(row, which, calendar)
            if view[block + which] < current:
                view[block + amount] = 0.0
                view[block + which] = current
            view[block + amount] += usd
        view[block + TOTAL_USD] += usd

    def _current(self, row: int, which: int, calendar: Calendar) -> float:
        """The latest period that the clock or any process has seen."""
        first, last = row + BLOCK + which, row + BLOCK * (1 + self.slots)
        if last - first < BLOCK:  # one process: no slices
            seen, own = calendar.day if which == DAY else calendar.month, self.view[first]
            return own if own > seen else seen
        return max(calendar.day if which == DAY else calendar.month, *self.view[first:last:BLOCK])

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
                self._add(row, block, held, calendar)
            self.view[block + RESERVED] = self.view[block + IN_FLIGHT] = 0.0


def read_spend(folder: Path, wall: float) -> dict[str, Spend]:
    """What each key has spent, by its id, read beside running gateways; `folder` is the gateway's. Raises SpendUnreadable."""
    path = folder / "limits" / "state"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SpendUnreadable(f"{path} cannot be read ({error.strerror})") from error
    view, calendar = memoryview(data[: len(data) // 8 * 8]).cast("d"), Calendar()
    calendar.turn(wall)
    found = {}
    for ident, start in _rows(data, view):
        blocks = [view[block : block + BLOCK] for block in range(start + BLOCK, start + BLOCK * (1 + int(view[1])), BLOCK)]
        day = max([calendar.day, *(b[DAY] for b in blocks)])
        month = max([calendar.month, *(b[MONTH] for b in blocks)])
        found[ident] = Spend(
            math.fsum(b[DAY_USD] for b in blocks if b[DAY] == day),
            math.fsum(b[MONTH_USD] for b in blocks if b[MONTH] == month),
            math.fsum(b[TOTAL_USD] for b in blocks),
        )
    return found


def _rows(data: bytes | mmap.mmap, view: memoryview[float]) -> Iterator[tuple[str, int]]:
    """Key ids and where their rows begin. Raises SpendUnreadable when the file is not whole."""
    if data[:8] != MAGIC or len(view) < BLOCK:
        raise SpendUnreadable("it is not a file of Penstock's")
    slots, rows = view[1], view[2]
    if not (0 <= slots <= SLOTS and 0 <= rows <= (len(view) - BLOCK) / ROW):
        raise SpendUnreadable(f"it is cut short or damaged (it should hold {rows:g} keys)")
    for start in range(BLOCK, BLOCK + ROW * int(rows), ROW):
        yield _ident(data, start), start


def _ident(data: bytes | mmap.mmap, start: int) -> str:
    return data[8 * start + 16 : 8 * start + 16 + _ID_BYTES].rstrip(b"\0").decode("utf-8", "replace")


def _epoch(year: int, month: int) -> float:
    import calendar

    return float(calendar.timegm((year, month, 1, 0, 0, 0)))
