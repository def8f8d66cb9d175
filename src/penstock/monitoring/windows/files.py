"""Windows on disk, beside the records: `base/`, and rolled up to ten minutes and an hour, each for as long as it says.

One process appends whole frames; others read meanwhile. A span that is written again (after a crash) replaces what was written before;
spans that came twice because the clock was set back add up. A frame that a crash cut off is passed over, and removed by the next writer. A
roll-up is made from the finer windows on disk, so making it twice makes the same. Not covered: a power cut, which may take the last
minutes.
"""

from __future__ import annotations

import calendar
import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.core.files import told_plainly
from penstock.monitoring.windows.codec import HEAD_BYTES, MAGIC, Frame, Head, Span, encode, read_head
from penstock.monitoring.windows.window import Cells, merge_cells

DAY_S = 86400.0
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Level:
    """`length_s`: of its windows (base: as measured); `stamp`: the time in its files' names; `keep_s`: how long they are kept."""

    name: str
    length_s: float
    stamp: str
    keep_s: float


BASE = Level("base", 0.0, "%Y%m%d", 2 * DAY_S)
LEVELS = (BASE, Level("10m", 600.0, "%Y%m", 30 * DAY_S), Level("1h", 3600.0, "%Y%m", 400 * DAY_S))


class WindowFiles:
    """Those of one deployment, under `folder`. Writing is for one process only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sound: set[Path] = set()  # files whose end was looked at

    def append(self, frame: Frame) -> None:
        """Raises DiskFull, ReadOnly; the file is then as it was."""
        self._append(BASE, frame)

    def roll_up(self, before: float, now: float, length_s: float) -> None:
        """Makes the coarser windows that ended as the time went from `before` to `now`, where there is something in them.

        `length_s`: of the windows that are appended now. Raises DiskFull, ReadOnly.
        """
        finer = BASE
        for level in (level for level in LEVELS[1:] if level.length_s >= length_s):
            first, last = (instant // level.length_s * level.length_s for instant in (before, now))
            spans = self._spans(finer, first, last) if first < last else []
            starts = {span.start // level.length_s * level.length_s for span in spans}
            for start in sorted(starts):
                self._append(level, Frame(Span(start, level.length_s), self._merged(finer, start, start + level.length_s)))
            finer = level

    def read(self, since: float, until: float) -> list[Frame]:
        """Windows that start at `since` or later and before `until`, oldest first, each as fine as it is still kept."""
        found: list[Frame] = []
        for level in LEVELS:
            files = self._files(level)
            reach = min((_starts(path, level) for path in files), default=float("inf"))
            found = [*self._frames(level, max(since, reach), until), *found] if reach < until else found
            until = min(until, reach)
        return found

    def forget(self, now: float) -> int:
        """Removes files whose windows are all older than they are kept; returns how many."""
        old = [path for level in LEVELS for path in self._files(level) if _ends(path, level) < now - level.keep_s]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def _append(self, level: Level, frame: Frame) -> None:
        path = self.folder / level.name / f"{time.strftime(level.stamp, time.gmtime(frame.span.start))}.windows"
        data = encode(frame)
        with told_plainly(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path not in self._sound:
                _mend(path)
                self._sound.add(path)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(file).st_size
                try:
                    if os.write(file, data) != len(data):
                        raise OSError(errno.ENOSPC, "there was room for half a frame only")
                except OSError:
                    os.ftruncate(file, size)
                    raise
            finally:
                os.close(file)

    def _frames(self, level: Level, since: float, until: float) -> list[Frame]:
        found: dict[tuple[float, float], dict[int, Frame]] = {}
        for frame in self._each(level, since, until):
            found.setdefault((frame.span.start, frame.span.length), {})[frame.span.epoch] = frame
        return [_one(epochs.values()) for _, epochs in sorted(found.items())]

    def _merged(self, level: Level, since: float, until: float) -> Cells:
        cells: Cells = {}
        for frame in self._frames(level, since, until):
            merge_cells(cells, frame.cells)
        return cells

    def _spans(self, level: Level, since: float, until: float) -> list[Span]:
        return [head.span for path in self._between(level, since, until) for head, _ in _heads(path) if since <= head.span.start < until]

    def _each(self, level: Level, since: float, until: float) -> Iterator[Frame]:
        for path in self._between(level, since, until):
            for head, file in _heads(path):
                if since <= head.span.start < until:
                    with contextlib.suppress(ValueError):  # cut off by a crash, or damaged
                        yield head.read(os.pread(file, head.end - head.at, head.at))

    def _between(self, level: Level, since: float, until: float) -> list[Path]:
        return [path for path in self._files(level) if _ends(path, level) > since and _starts(path, level) < until]

    def _files(self, level: Level) -> list[Path]:
        return sorted(path for path in (self.folder / level.name).glob("[0-9]*.windows") if path.stem.isdigit())


def _one(epochs: Iterable[Frame]) -> Frame:
    """What was measured of one span, over all times that the clock showed it."""
    first, *others = epochs
    for other in others:
        merge_cells(first.cells, other.cells)
    return first


def _heads(path: Path) -> Iterator[tuple[Head, int]]:
    """Every frame whose head is sound, in order, with the open file; what lies between them is passed over."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # too old by now
        return
    try:
        at: int | None = 0
        while at is not None:
            head = read_head(os.pread(file, HEAD_BYTES, at), at)
            if head is not None:
                yield head, file
            at = head.end if head is not None else _next_magic(file, at + 1)
    finally:
        os.close(file)


def _next_magic(file: int, at: int) -> int | None:
    while len(data := os.pread(file, _CHUNK, at)) >= HEAD_BYTES:
        if (place := data.find(MAGIC)) >= 0:
            return at + place
        at += len(data) - len(MAGIC) + 1
    return None


def _mend(path: Path) -> None:
    """Takes off the half frame that a crash left at the end of a file."""
    if not path.exists():
        return
    size = path.stat().st_size
    end = max((head.end for head, _ in _heads(path) if head.end <= size), default=0)
    if end < size:
        os.truncate(path, end)


def _starts(path: Path, level: Level) -> float:
    return float(calendar.timegm(time.strptime(path.stem, level.stamp)))


def _ends(path: Path, level: Level) -> float:
    began = time.gmtime(_starts(path, level))
    if level is BASE:
        return calendar.timegm(began) + DAY_S
    return float(calendar.timegm((began.tm_year + began.tm_mon // 12, began.tm_mon % 12 + 1, 1, 0, 0, 0)))
