"""All records of a home in the order in which requests were over, each once, a bounded batch at a time.

Several gateway processes append to segments of their own. A batch ends at an instant up to which all of them were read, so that no later
batch goes back behind it. How far each segment was given is `places`; whoever saves that with what became of the records counts none
twice. Not covered: records that reach the disk after their instant was over (a gateway that hung): they come late. A clock that was set
back by more than two days: what was written since and not yet read when this process was killed is passed over.
"""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.serving.record_files import segments
from penstock.serving.segment import Piece, Place, read_on

BATCH, BATCH_BYTES = 5000, 16 << 20  # records of one process at a time, and bytes of them where texts are long
LIST_S = 5.0  # between looks at the folder where its own time says that nothing is new
SETTLED_S = 3600.0  # a segment of an hour that has been over for so long does not grow
KEPT_S = 48 * 3600.0  # for so long the places of segments are kept: a clock set back by less makes nothing come twice
_NEVER, _ALL = -math.inf, 1 << 60
Floats = npt.NDArray[np.float64]
_NAME = re.compile(r"\d{8}-\d{2}-.+-\d+")


@dataclass(frozen=True, slots=True)
class Taken:
    """Records of one segment that were given: those of `piece` at `numbers`."""

    segment: str
    piece: Piece
    numbers: Sequence[int]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [self.piece.rows[number] for number in self.numbers]


@dataclass(frozen=True, slots=True)
class Batch:
    """`rows`, by `at`. `until`: all that was over by then has been given. `more`: there is more to be had at once."""

    rows: list[dict[str, Any]]
    taken: list[Taken]
    until: float
    more: bool


@dataclass(slots=True)
class _Buffer:
    """What was read of a segment; from `given` on it was not given yet. `at`: when each row counts, _NEVER for what is no record."""

    piece: Piece
    at: Floats
    given: int = 0

    @property
    def left(self) -> int:
        return len(self.piece.rows) - self.given


@dataclass(slots=True)
class _Hour:
    """What is ready of the segments of one hour, and the instant up to which that is all there is."""

    buffers: list[tuple[str, _Buffer]] = field(default_factory=list)
    bound: float = math.inf


class Reader:
    """`places`, `floor`: see below; they are what has to be saved. `unread` counts lines and rows that were no records."""

    def __init__(self, folder: Path, places: Mapping[str, Place], floor: str) -> None:
        """`floor`: segments of hours before it (`20261128-10`) that are there by now are done with, unless they have a place."""
        self.folder, self.places, self.floor = folder, dict(places), floor
        self.unread = 0
        self._first = 0.0
        self._files: dict[str, Path] = {}
        self._listed: tuple[int, float] = (0, _NEVER)  # time of the folder, and when we looked (monotonic)
        self._done: set[str] = set()
        self._buffers: dict[str, _Buffer] = {}
        self._full: dict[str, bool] = {}  # whether there was more when a segment was last read
        self._until = _NEVER
        self._list()
        self._done |= {stem for stem in self._files if stem[:11] < floor and stem not in self.places}

    @classmethod
    def anew(cls, folder: Path, first: float) -> Reader:
        """One that passes over records of requests that were over before `first`."""
        made = cls(folder, {}, hour_of(first - KEPT_S))
        made._first = first
        for stem, path in made._files.items():
            if stem[:11] < hour_of(first) and stem not in made._done:
                with contextlib.suppress(FileNotFoundError):
                    made.places[stem] = Place(_ALL, path.stat().st_size if path.suffix == ".jsonl" else None)
        return made

    def take(self, until: float, now: float) -> Batch:
        """Records of requests that were over by `until`. `now`: what the clock shows; no record counts later than that."""
        if self._list():
            self._settle(now)
        if until < self._until:  # the clock was set back
            for buffer in self._buffers.values():
                buffer.at = np.minimum(buffer.at, now)
        self._until = until
        taken: list[Taken] = []
        latest, reached, more = _NEVER, until, False
        hours = self._hours()
        for place, stems in enumerate(hours):
            hour = self._ready(stems, now)
            for stem, buffer in hour.buffers:
                latest = max(latest, self._give(stem, buffer, min(until, hour.bound), taken))
            enough = sum(len(each.numbers) for each in taken) >= BATCH and place + 1 < len(hours)
            if hour.bound < until or enough:
                reached, more = (hour.bound if hour.bound < until else min(until, latest)), True
                break
        rows = [row for each in taken for row in each.rows]
        rows.sort(key=itemgetter("at"))
        return Batch(rows, taken, reached, more)

    def _hours(self) -> list[list[str]]:
        """Segments that are not done, by hour, oldest first."""
        found: dict[str, list[str]] = {}
        for stem in sorted(stem for stem in self._files if stem not in self._done):
            found.setdefault(stem[:11], []).append(stem)
        return list(found.values())

    def _ready(self, stems: Iterable[str], now: float) -> _Hour:
        """Fills buffers: of each process about BATCH records, from its segments in their order."""
        found = _Hour()
        for line in _by_process(stems):
            count = 0
            for place, stem in enumerate(line):
                buffer = self._buffer(stem, now)
                if buffer is None:
                    continue
                found.buffers.append((stem, buffer))
                count += buffer.left
                if buffer.piece.full or (count >= BATCH and place + 1 < len(line)):
                    latest = float(buffer.at.max())
                    found.bound = min(found.bound, latest if latest > _NEVER else math.inf)
                    break
        return found

    def _buffer(self, stem: str, now: float) -> _Buffer | None:
        """What of the segment is not given yet, with what was written since; None: there is nothing."""
        known = self._buffers.get(stem)
        if known is not None and known.piece.full:
            return known
        start = self.places.get(stem, Place()) if known is None else known.piece.after(len(known.piece.rows))
        if self._at_end(self._files[stem], start, stem):
            return known
        piece = read_on(self._files[stem], start, BATCH, BATCH_BYTES)
        self.unread += piece.unread
        self._full[stem] = piece.full
        at = self._instants(piece.rows, now)
        if known is None:
            self.places[stem] = piece.after(0)
        else:
            piece, at = known.piece.then(piece, known.given), np.concatenate([known.at[known.given :], at])
        if not piece.rows:
            return None
        self._buffers[stem] = buffer = _Buffer(piece, at)
        return buffer

    def _at_end(self, path: Path, place: Place, stem: str) -> bool:
        """Whether nothing lies behind the place now."""
        if path.suffix == ".jsonl":
            with contextlib.suppress(FileNotFoundError):  # compacted since it was listed
                return path.stat().st_size == place.offset
        return place.offset is None and self._full.get(stem) is False

    def _instants(self, rows: Sequence[Mapping[str, Any]], now: float) -> Floats:
        """When each row counts. A clock that was ahead when it was written must not hold it back."""
        try:
            pairs = np.array([(row["ts"], row["total_ms"]) for row in rows] or np.zeros((0, 2)))
        except (KeyError, TypeError, ValueError, OverflowError):
            pairs = np.zeros(0)
        if pairs.dtype.kind not in "fi" or pairs.ndim != 2:
            pairs = np.array([_pair(row) for row in rows])
        over = pairs[:, 0] + pairs[:, 1] / 1000
        good = over >= self._first  # no number is neither before nor after
        self.unread += int(np.isnan(over).sum())
        return np.where(good, np.minimum(over, now), _NEVER)

    def _give(self, stem: str, buffer: _Buffer, bound: float, taken: list[Taken]) -> float:
        """Moves what was over by `bound` from the buffer to `taken`; returns the latest of it."""
        first = buffer.given
        late = np.flatnonzero(buffer.at[first:] > bound)
        last = first + int(late[0]) if late.size else len(buffer.piece.rows)
        if first == last:
            return _NEVER
        buffer.given, self.places[stem] = last, buffer.piece.after(last)
        if not buffer.left:
            del self._buffers[stem]
        at = buffer.at[first:last]
        good = (first + np.flatnonzero(at > _NEVER)).tolist()
        for place, over in zip(good, at[at > _NEVER].tolist(), strict=True):
            buffer.piece.rows[place]["at"] = over
        if good:
            taken.append(Taken(stem, buffer.piece, good))
        return float(at.max())

    def _list(self) -> bool:
        """Looks which segments there are; False where that is known."""
        steady = time.monotonic()
        try:
            changed = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if changed == self._listed[0] and steady - self._listed[1] < LIST_S:
            return False
        self._listed = (changed, steady)
        self._files = {path.stem: path for path in segments(self.folder) if _NAME.fullmatch(path.stem)}
        self._done &= self._files.keys()
        return True

    def _settle(self, now: float) -> None:
        """Passes over segments that are read to their end and do not grow; forgets places that are long past."""
        quiet = hour_of(now - SETTLED_S)
        for stem, path in self._files.items():
            over = stem[:11] < quiet and stem not in self._done and stem not in self._buffers
            if over and self._at_end(path, self.places.get(stem, Place()), stem):
                self._done.add(stem)
        waiting = min((stem[:11] for stem in self._files if stem not in self._done), default=quiet)
        self.floor = max(self.floor, min(waiting, hour_of(now - KEPT_S)))
        kept = {stem for stem in self._files if stem[:11] >= self.floor or stem not in self._done}
        self.places = {stem: place for stem, place in self.places.items() if stem in kept}
        self._full = {stem: full for stem, full in self._full.items() if stem in kept}


def _pair(row: Mapping[str, Any]) -> tuple[float, float]:
    try:
        return float(row["ts"] * 1.0), float(row["total_ms"] * 1.0)
    except (KeyError, TypeError, ValueError, OverflowError):
        return math.nan, math.nan


def hour_of(at: float) -> str:
    """The hour (UTC) as segments are named by it."""
    return time.strftime("%Y%m%d-%H", time.gmtime(max(at, 0.0)))


def _by_process(stems: Iterable[str]) -> list[Sequence[str]]:
    """Segments of one hour by the process that wrote them, in the order in which it did."""
    found: dict[str, list[tuple[int, str]]] = {}
    for stem in stems:
        _, process, number = stem.rsplit("-", 2)
        found.setdefault(process, []).append((int(number), stem))
    return [[stem for _, stem in sorted(line)] for line in found.values()]
