"""The deployments that this home's watcher follows, each with its measures, made anew where the row changed."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from penstock.control.gateway import present_route
from penstock.control.split import live_of
from penstock.control.watch.contract import Happened, Maker, Measure, Watched
from penstock.control.watch.saved import Kept
from penstock.control.watch.table import MEASURES
from penstock.core.errors import NotFound, PenstockError
from penstock.core.home import Home
from penstock.spec.monitor import Monitor
from penstock.store.resources import Resource
from penstock.store.signals import Signal
from penstock.store.store import Store

log = logging.getLogger("penstock.watch")
MOST = 1000  # deployments
ASIDE_S = 60.0  # a measure that failed is left alone for so long
Seen = tuple[str, str, bytes, tuple[int, ...]]


@dataclass(slots=True)
class Running:
    """A measure. One that failed waits until `again` (seconds since the epoch) and goes on from the state that it had before."""

    name: str
    measure: Measure | None
    state: bytes | None = None
    again: float = 0.0


@dataclass(slots=True)
class Followed:
    """One deployment. `row` is as read last, `seen` what of it measures were made for; `failures` counts measures that failed."""

    row: Resource
    seen: Seen
    watched: Watched
    measures: list[Running]
    failures: int = 0

    @property
    def name(self) -> str:
        return self.watched.deployment

    def fold(self, happened: Happened) -> list[Signal]:
        """Signals of all measures; one that fails is told, set aside for ASIDE_S, and misses what came meanwhile."""
        signals: list[Signal] = []
        for running in self.measures:
            if running.measure is None and happened.until >= running.again:
                _start(running, self.watched)
            if running.measure is None:
                continue
            try:
                signals += running.measure.fold(happened)
            except Exception as error:  # a measure may come from outside; the others must go on
                self.failures += 1
                log.error("measure %s of %s failed (%s)\n%s", running.name, self.name, error, traceback.format_exc())
                running.measure, running.again = None, happened.until + ASIDE_S
        return signals

    def kept(self) -> Kept:
        """The states as they are now; of a measure that is set aside the last good one."""
        for running in self.measures:
            if running.measure is not None:
                running.state = running.measure.state()
        return Kept(self.row.id, {running.name: running.state for running in self.measures if running.state is not None})


@dataclass(slots=True)
class Following:
    """`saved`: states from before this process, by deployment; they are used up as deployments are met."""

    home: Home
    store: Store
    saved: dict[str, Kept]
    known: dict[str, Followed] = field(default_factory=dict)

    def refresh(self, seen: Collection[str] = ()) -> None:
        """Reads all rows; `seen`: models whose records are here. Raises DatabaseUnavailable."""
        there: dict[str, Followed] = {}
        rows = {row.name: row for row in reversed(self.store.resources.list("deployment", limit=MOST))}  # of one name the newest
        for row in rows.values():
            if row.phase == "deleted" or row.spec.get("delete"):
                continue
            before = self.known.get(row.name)
            if before is None and row.name not in seen and not self._is_here(row.name):
                continue  # of another home that shares the database
            there[row.name] = self._follow(row, before)
        self.known = there
        self.saved = {name: kept for name, kept in self.saved.items() if name in rows and kept.resource == rows[name].id}

    def _is_here(self, name: str) -> bool:
        return name in self.saved or present_route(self.home, name)[0] is not None

    def _follow(self, row: Resource, before: Followed | None) -> Followed:
        seen = seen_in(row)
        if before is not None and before.seen == seen:
            before.row = row
            return before
        watched = watched_of(row, self.store, self.home)
        states: Mapping[str, bytes] = {}
        if before is not None and before.row.id == row.id:
            states = before.kept().states
        elif (kept := self.saved.pop(row.name, None)) is not None and kept.resource == row.id:
            states = kept.states
        made = Followed(row, seen, watched, [Running(name, None, states.get(name)) for name in MEASURES.names()])
        for running in made.measures:
            _start(running, watched)
        made.measures = [running for running in made.measures if running.measure is not None or running.again]
        return made


def watched_of(row: Resource, store: Store, home: Home) -> Watched:
    monitor = Monitor.model_validate(row.spec.get("deploy", {}).get("monitor", {}))
    versions: dict[str, Any] = {}
    for part in live_of(row.status):
        try:
            versions[str(part.version)] = store.registry.get(row.spec["model"], part.version)
        except NotFound:
            log.error("version %s of %s, which %s serves, is not registered", part.version, row.spec["model"], row.name)
    return Watched(row.name, row.spec["task"], monitor, versions, store, home.folder / "monitor" / row.name, home)


def seen_in(row: Resource) -> Seen:
    """When this changes, measures are made anew; a row is written every second without any change of it."""
    monitor = orjson.dumps(row.spec.get("deploy", {}).get("monitor", {}), option=orjson.OPT_SORT_KEYS)
    return row.id, row.spec["task"], monitor, tuple(part.version for part in live_of(row.status))


def _start(running: Running, watched: Watched) -> None:
    """Makes the measure and gives it its state back; None where the deployment asks for nothing of this kind, or it cannot be had now."""
    running.again = 0.0
    try:
        running.measure = _made(running, watched)
    except Exception as error:
        told = error.way_out if isinstance(error, PenstockError) else traceback.format_exc()
        log.error("measure %s of %s cannot be made (%s) %s", running.name, watched.deployment, error, told)
        running.measure, running.again = None, watched.store.clock.now() + ASIDE_S


def _made(running: Running, watched: Watched) -> Measure | None:
    make: Maker = MEASURES.load(running.name)
    measure = make(watched)
    if measure is None or running.state is None:
        return measure
    try:
        measure.restore(running.state)
    except ValueError as error:
        log.error("the state of measure %s of %s cannot be read (%s); it starts anew", running.name, watched.deployment, error)
        return make(watched)
    return measure
