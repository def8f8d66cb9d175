"""What gateway keys have spent, as numbers: periods of the calendar, the layout of the file (spend_file.py), and a look at it from beside.

Budget periods are UTC days and months of the wall clock. A row never goes back to an earlier period, whatever the clock says.
"""

from __future__ import annotations

import math
import mmap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"PNSTKLM1"
SLOTS, BLOCK = 64, 8  # blocks of a row beside the shared one; doubles in a block
ROW = BLOCK * (SLOTS + 1)
IN_FLIGHT, RESERVED, DAY, DAY_USD, MONTH, MONTH_USD, TOTAL_USD, MARK = range(BLOCK)
PERIODS = {"day": (DAY, DAY_USD), "month": (MONTH, MONTH_USD)}
ID_BYTES = 48
_DAY_S = 86400


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
    for ident, start in rows_of(data, view):
        blocks = [view[block : block + BLOCK] for block in range(start + BLOCK, start + BLOCK * (1 + int(view[1])), BLOCK)]
        day = max([calendar.day, *(b[DAY] for b in blocks)])
        month = max([calendar.month, *(b[MONTH] for b in blocks)])
        found[ident] = Spend(
            math.fsum(b[DAY_USD] for b in blocks if b[DAY] == day),
            math.fsum(b[MONTH_USD] for b in blocks if b[MONTH] == month),
            math.fsum(b[TOTAL_USD] for b in blocks),
        )
    return found


def rows_of(data: bytes | mmap.mmap, view: memoryview[float]) -> Iterator[tuple[str, int]]:
    """Key ids and where their rows begin. Raises SpendUnreadable when the file is not whole."""
    if data[:8] != MAGIC or len(view) < BLOCK:
        raise SpendUnreadable("it is not a file of Penstock's")
    slots, rows = view[1], view[2]
    if not (0 <= slots <= SLOTS and 0 <= rows <= (len(view) - BLOCK) / ROW):
        raise SpendUnreadable(f"it is cut short or damaged (it should hold {rows:g} keys)")
    for start in range(BLOCK, BLOCK + ROW * int(rows), ROW):
        yield _ident(data, start), start


def _ident(data: bytes | mmap.mmap, start: int) -> str:
    return data[8 * start + 16 : 8 * start + 16 + ID_BYTES].rstrip(b"\0").decode("utf-8", "replace")


def _epoch(year: int, month: int) -> float:
    import calendar

    return float(calendar.timegm((year, month, 1, 0, 0, 0)))
