"""The measure `kpis`: windows of records and feedback, kept on disk and told as signals. Every deployment has it.

One window is open at a time: records that reach the disk after their window was closed count in the one that is open. Closed windows go to
disk before their signals are returned; what a full disk refuses is kept for a while and tried again.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence

import numpy as np
import orjson

from penstock.control.watch.contract import Happened, Rated, Watched
from penstock.core.errors import DiskFull, ReadOnly
from penstock.monitoring.windows.codec import Frame, Span, decode, encode
from penstock.monitoring.windows.columns import columns
from penstock.monitoring.windows.feedback import Rating, Ratings
from penstock.monitoring.windows.files import WindowFiles
from penstock.monitoring.windows.folding import Slices, fold
from penstock.monitoring.windows.kpis import Spend, parts, signals_of
from penstock.serving.joined import Verdict, verdict
from penstock.store.signals import Signal

log = logging.getLogger("penstock.watch")
VERSION = 1
QUIET = 60  # windows without a request that are told of at most, after a time without a watcher
MOST_UNSAVED = 500  # windows that wait for room on the disk
CLEAN_S = 3600.0
_SIZE = struct.Struct("<I")


def make(watched: Watched) -> Kpis:
    return Kpis(watched)


class Kpis:
    name = "kpis"

    def __init__(self, watched: Watched) -> None:
        self._watched, self._length = watched, watched.monitor.window
        self._files = WindowFiles(watched.folder / "windows")
        self._slices = Slices(watched.monitor.slices)
        self._open: Frame | None = None
        self._spend, self._ratings = Spend(), Ratings()
        self._unsaved: list[Frame] = []
        self._closed = self._cleaned = 0.0  # end of the last window that was closed; when old files were last removed
        self._epoch = 0
        self.unread = 0  # rows that were no records

    def fold(self, happened: Happened) -> list[Signal]:
        found = columns(happened.records)
        self.unread += found.unread
        placed = self._slices.place(found)
        signals: list[Signal] = []
        if self._open is not None and happened.until < self._open.span.start:
            self._set_back()
        self._open = self._open or self._window(min([happened.until, *found.at[:1]]))
        at, said, row, told = np.maximum.accumulate(found.at), happened.rated, 0, 0
        while True:
            end = self._open.span.end
            last = int(np.searchsorted(at, end))
            fold(self._open.cells, placed, row, last)
            told = self._fold_feedback(said, told, end)
            row = last
            if happened.until < end:
                break
            following = min([happened.until, *at[row : row + 1], *(each.said.ts for each in said[told : told + 1])])
            signals += self._close(following)
        fold(self._open.cells, placed, row, len(placed.columns.rows))  # none, unless a clock went wrong
        self._fold_feedback(said, told, float("inf"))
        return signals

    def _fold_feedback(self, said: Sequence[Rated], first: int, end: float) -> int:
        """Counts what was said before `end`; returns where the rest begins."""
        assert self._open is not None
        while first < len(said) and said[first].said.ts < end:
            one = said[first]
            first += 1
            before, now = verdict(one.earlier), verdict((*one.earlier, one.said))
            request = f"{one.record.get('id')} {one.record.get('key')}"
            answer = one.record.get("label")
            self._ratings.fold(self._open.cells, request, self._slices.of(one.record), _rating(before, answer), _rating(now, answer))
        return first

    def _close(self, following: float) -> list[Signal]:
        """Ends the open window, and those without a request up to the one that holds `following`."""
        assert self._open is not None
        closed, signals = self._open, self._told(self._open)
        self._keep(closed)
        self._open, self._ratings = self._window(max(following, closed.span.end)), Ratings()
        span = self._window(max(closed.span.end, self._open.span.start - QUIET * self._length)).span
        while span.end <= self._open.span.start:
            if span.start >= closed.span.end:
                signals += self._told(Frame(span))
            span = Span(span.end, self._length, self._epoch)
        return signals

    def _told(self, frame: Frame) -> list[Signal]:
        deployment, versions = self._watched.deployment, self._watched.versions
        self._spend.add(frame.span, frame.cells)
        told = [place for place, _ in parts(frame.cells, versions)]
        return [
            *signals_of(deployment, frame.span, frame.cells, versions),
            *self._spend.signals(deployment, frame.span, told),
        ]

    def _set_back(self) -> None:
        """The clock was: what is open is kept as it is, and the time that comes for the second time is told apart from the first."""
        assert self._open is not None
        self._spend.add(self._open.span, self._open.cells)
        self._keep(self._open)
        self._epoch += 1
        self._open, self._ratings, self._closed = None, Ratings(), 0.0

    def _keep(self, frame: Frame) -> None:
        if frame.cells:
            self._unsaved.append(frame)
        before, now = self._closed or frame.span.start, frame.span.end
        try:
            while self._unsaved:
                self._files.append(self._unsaved[0])
                del self._unsaved[0]
            self._files.roll_up(before, now, self._length)
            self._closed = now
            if not 0 <= now - self._cleaned < CLEAN_S:
                self._cleaned = now
                self._files.forget(now)
        except (DiskFull, ReadOnly) as error:
            lost = self._unsaved[: max(0, len(self._unsaved) - MOST_UNSAVED)]
            del self._unsaved[: len(lost)]
            log.error("%s; %d windows of %s wait, %d are given up", error, len(self._unsaved), self._watched.deployment, len(lost))

    def _window(self, at: float) -> Frame:
        """The empty window that holds the instant."""
        return Frame(Span(float(at // self._length * self._length), self._length, self._epoch))

    def state(self) -> bytes:
        frames = [encode(frame) for frame in [*([self._open] if self._open else []), *self._unsaved]]
        head = {
            "version": VERSION,
            "open": self._open is not None,
            "frames": [len(frame) for frame in frames],
            "closed": self._closed,
            "cleaned": self._cleaned,
            "epoch": self._epoch,
            "slices": self._slices.as_json(),
            "spend": self._spend.as_json(),
            "ratings": self._ratings.as_json(),
        }
        told = orjson.dumps(head)
        return b"".join([_SIZE.pack(len(told)), told, *frames])

    def restore(self, state: bytes) -> None:
        try:
            (size,) = _SIZE.unpack_from(state)
            head = orjson.loads(state[_SIZE.size : _SIZE.size + size])
            if head["version"] != VERSION:
                raise ValueError(f"state version {head['version']} is not {VERSION}")
            at, frames = _SIZE.size + size, []
            for length in head["frames"]:
                frames.append(decode(state[at : at + length]))
                at += length
            spend, ratings = Spend.parse(head["spend"]), Ratings.parse(head["ratings"])
            closed, cleaned, epoch = float(head["closed"]), float(head["cleaned"]), int(head["epoch"])
            self._slices.restore(head["slices"])
        except (struct.error, KeyError, TypeError, IndexError, AttributeError, orjson.JSONDecodeError) as error:
            raise ValueError(f"no state of windows ({error})") from error
        self._open = frames.pop(0) if head["open"] else None
        self._unsaved, self._spend, self._ratings = frames, spend, ratings
        self._closed, self._cleaned, self._epoch = closed, cleaned, epoch


def _rating(found: Verdict, answer: object) -> Rating:
    right = None if found.label is None or answer is None else found.label == answer
    score = None if found.score is None else (found.score + 1) / 2
    return Rating(score, right, found.score is not None or found.label is not None)
