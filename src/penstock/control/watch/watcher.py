"""One turn of the watcher: read what is new, give it to the measures, write their signals, remember how far that was.

Signals and windows are written before the place is remembered, so a process killed in between does the last seconds again, to the same
end: signals are rows that are written over, windows replace each other. While the database is away nothing goes on: records wait on disk,
and nothing is lost.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Collection, Sequence, Set
from typing import Any

from penstock.control.outcomes import LAG_S
from penstock.control.watch.contract import KEEP_S, Happened, Rated
from penstock.control.watch.followed import Following
from penstock.control.watch.health import Health, HealthFile
from penstock.control.watch.kpis import Kpis
from penstock.control.watch.published import Published
from penstock.control.watch.ratings import Ratings
from penstock.control.watch.reader import Batch, Reader, hour_of
from penstock.control.watch.saved import Saved
from penstock.control.watch.surroundings import Surroundings
from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import DiskFull, ReadOnly
from penstock.core.home import Home
from penstock.serving.segment import Place
from penstock.store.signals import Signal
from penstock.store.store import Store

log = logging.getLogger("penstock.watch")
REFRESH_S = 2.0  # between looks at the deployments' rows
SAVE_S = 5.0  # of work that is done again after a crash, at most
BACK_S = 5.0  # the clock goes back by less without anybody minding; signals then wait for it
FIRST_S = 3600.0  # a home that was never watched: how far back records are taken, from the full hour
FORGET_S = 3600.0  # how often signals that are too old are removed


def rarely_collect() -> None:
    """Rows are freed by their reference counts; looking through thousands of them for circles takes a quarter of the time."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


class Watcher:
    """Of one home, by one process: see __main__.py. `until`: all that happened by then is folded."""

    def __init__(self, home: Home, store: Store, clock: Clock | None = None) -> None:
        self.home, self.store, self.clock = home, store, clock or SystemClock()
        self.folder = home.folder / "monitor"
        self.health = Health()
        self._health_file = HealthFile(self.folder, self.health)
        self.saved = Saved.read(self.folder)
        for problem in self.saved.problems:
            log.error("%s", problem)
        now = self.clock.now()
        self.until, self.reader, self.ratings = self._begin(now)
        self.following = Following(home, store, dict(self.saved.deployments))
        self.surroundings = Surroundings(home)
        self.published = Published(home, store)
        self._batch: Batch | None = None  # read, and not given to the measures yet
        self._undelivered: list[Signal] = []
        self._foreign: set[str] = set()
        self._changed = False
        self._refreshed = self._stored = float("-inf")
        self._forgot: dict[str, float] = {}

    def _begin(self, now: float) -> tuple[float, Reader, Ratings]:
        """Where the process before this one stopped; a home that was never watched, from a full hour back."""
        records, position = self.home.gateway / "records", self.saved.position
        try:
            places = {str(stem): Place(int(rows), offset) for stem, (rows, offset) in position["places"].items()}
            reader = Reader(records, places, str(position["floor"]))
            ratings = Ratings(self.home.gateway, reader, "")
            ratings.restore(position["feedback"])
            return float(position["until"]), reader, ratings
        except (KeyError, TypeError, ValueError) as error:
            if position:
                log.error("how far was read cannot be made out (%s); everything is measured anew", error)
                self.saved.deployments.clear()
        first = (now - FIRST_S) // 3600.0 * 3600.0
        reader = Reader.anew(records, first)
        return first, reader, Ratings(self.home.gateway, reader, hour_of(first))

    def turn(self) -> bool:
        """True: there is more to do at once. Raises DatabaseUnavailable, DiskFull, ReadOnly.

        The next turn then goes on where this one stopped.
        """
        now, steady = self.clock.now(), self.clock.monotonic()
        self._deliver()
        if steady - self._refreshed >= REFRESH_S:
            self._refresh(steady, ())
        self.surroundings.look(now, list(self.following.known))
        if self._batch is None:
            self._batch = self.reader.take(self._instant(now), now)
        rows = _grouped(self._batch.rows, [row.get("model") for row in self._batch.rows])
        self._know_all(rows.keys(), steady)
        batch, self._batch = self._batch, None
        self._fold(batch, rows, self.ratings.take(batch, now))
        self._deliver()
        self.published.write(now, steady, self.following.known)
        self._remember(steady)
        self._forget(now)
        self._tell(now)
        return batch.more

    def close(self) -> None:
        """Remembers what is done. Raises DiskFull, ReadOnly, DatabaseUnavailable."""
        self._deliver()
        self.save()

    def _instant(self, now: float) -> float:
        """Up to when everything is on disk by now. It goes back only when the clock was set back for good."""
        until = now - LAG_S
        if until < self.until - BACK_S:
            log.warning("the clock was set back by %.0f s", self.until - until)
            self.until = until
        return max(until, self.until)

    def _know_all(self, names: Set[str], steady: float) -> None:
        """Looks for deployments whose first records are just there, before those are given out."""
        fresh = names - self.following.known.keys() - self._foreign
        if fresh:
            self._refresh(steady, fresh)
            self._foreign |= names - self.following.known.keys()

    def _refresh(self, steady: float, seen: Collection[str]) -> None:
        self.following.refresh(seen)
        self._refreshed = steady
        self._foreign.clear()

    def _fold(self, batch: Batch, rows: dict[str, list[Any]], rated: Sequence[Rated]) -> None:
        self.until = max(self.until, batch.until)
        said = _grouped(rated, [one.record.get("model") for one in rated])
        for name, followed in self.following.known.items():
            happened = Happened(rows.pop(name, ()), said.pop(name, ()), self.until)
            self._changed = self._changed or bool(happened.records or happened.rated)
            self._undelivered += followed.fold(happened)
            self._undelivered += self.surroundings.signals(followed, self.until)
        self.health.records += len(batch.rows)
        self.health.foreign += sum(map(len, rows.values()))

    def _deliver(self) -> None:
        if self._undelivered:
            self.store.signals.append(self._undelivered)
            self.health.signals += len(self._undelivered)
            self.published.take(self._undelivered)
            self._undelivered, self._changed, self._stored = [], True, float("-inf")

    def _remember(self, steady: float) -> None:
        """Saves at every window's end, and now and then between. A disk that refuses costs work after a crash, and nothing else."""
        if not self._changed or steady - self._stored < SAVE_S:
            return
        self._stored = steady
        try:
            self.save()
        except (DiskFull, ReadOnly) as error:
            log.error("%s; what is measured now would be measured again after a restart", error)

    def save(self) -> None:
        """Raises DiskFull, ReadOnly."""
        places = {stem: [place.rows, place.offset] for stem, place in self.reader.places.items()}
        position: dict[str, Any] = {"until": self.until, "floor": self.reader.floor, "places": places, "feedback": self.ratings.as_json()}
        states = {name: followed.kept() for name, followed in self.following.known.items()}
        self.saved.write(position, {**self.following.saved, **states})
        self._changed = False

    def _forget(self, now: float) -> None:
        for name in self.following.known:
            if now - self._forgot.setdefault(name, now) >= FORGET_S:
                self.store.signals.forget(name, now - KEEP_S)
                self._forgot[name] = now

    def _tell(self, now: float) -> None:
        health, counts = self.health, self.ratings.counts
        health.until, health.waits_for = self.until, None
        windows = [each.measure for one in self.following.known.values() for each in one.measures if isinstance(each.measure, Kpis)]
        health.unread = self.reader.unread + sum(each.unread for each in windows)
        health.feedback = {name: getattr(counts, name) for name in counts.__slots__}
        health.deployments = sorted(self.following.known)
        self._health_file.write(now)

    def tell_waiting(self, reason: str) -> None:
        """Says in the file what keeps it."""
        self.health.waits_for = reason
        self._health_file.write(self.clock.now())


def _grouped(found: Sequence[Any], names: Sequence[Any]) -> dict[str, list[Any]]:
    """By deployment; what has none is left out."""
    groups: dict[str, list[Any]] = {}
    for each, name in zip(found, names, strict=True):
        if isinstance(name, str):
            groups.setdefault(name, []).append(each)
    return groups
