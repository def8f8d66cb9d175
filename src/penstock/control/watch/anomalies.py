"""The measure `anomalies`: detectors over the deployment's own signals. Each gives the signal `anomaly` of its slice `signal=NAME`: how far
a point went towards its limit, which is 1; without a slice, the worst of all at that instant.

What a detector knows follows from the signals in the database: it is learnt anew at fixed instants, so many a season, from what lies
before, and then follows what came since. A restart comes to the same detector. State is only up to when signals were told of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.control.watch.contract import Happened, Watched
from penstock.core.errors import ExtraMissing
from penstock.monitoring.anomalies.contract import Found, History, Method, Model, Settings
from penstock.monitoring.anomalies.table import METHODS
from penstock.store.signals import Signal
from penstock.store.store import Store

SEASONS, MOST = 7.0, 20_160  # what is learnt from: so many seasons, at most so many points (two weeks of minutes)
Point = tuple[float, tuple[float, ...]]


def make(watched: Watched) -> Anomalies | None:
    if not watched.monitor.anomalies:
        return None
    try:
        import numpy  # noqa: F401  every method needs it
    except ModuleNotFoundError as error:
        raise ExtraMissing("monitor.anomalies needs numpy", remedy="Run: pip install 'penstock[monitor]'") from error
    return Anomalies(watched)


@dataclass(slots=True)
class Detector:
    """One method on one signal, or on several at once. `cursor`: the last instant that was told of."""

    method: str
    names: tuple[str, ...]
    settings: Settings
    window_s: float
    cursor: float | None = None
    learnt_at: float = math.nan
    model: Model | None = None
    _loaded: Method | None = field(default=None)

    @property
    def slice(self) -> str:
        return f"signal={'+'.join(self.names)}"

    @property
    def key(self) -> str:
        return f"{self.method} {self.slice}"

    def follow(self, store: Store, deployment: str, until: float) -> Iterator[tuple[float, Found]]:
        """What there is to tell of points since the cursor, up to `until`."""
        if self.cursor is None:  # what was before monitoring asked for it is history
            newest = store.signals.read(deployment, name=self.names, since=until - 10 * self.window_s, until=until, whole=True)
            self.cursor = max((row.at for row in newest), default=until)
        for at, values in _points(store, deployment, self.names, self.cursor, until):
            self._learn(store, deployment, at)
            if self.model is not None:
                yield at, self.model.step(at, values)
            self.cursor = at

    def _learn(self, store: Store, deployment: str, at: float) -> None:
        """Makes sure that the model is that of the present stretch of the season."""
        method = self._method
        stretch = max(self.settings.season_s / method.times_a_season, self.window_s)
        begins = math.floor(at / stretch) * stretch
        if begins == at:
            begins -= stretch  # a point is never learnt from before it is judged
        if begins == self.learnt_at:
            return
        span = min(SEASONS * self.settings.season_s, MOST * self.window_s)
        points = list(_points(store, deployment, self.names, begins - span, begins))
        self.learnt_at = begins
        self.model = method.learn(_history(points, self.window_s), self.settings) if points else None
        if self.model is not None:
            for before, values in _points(store, deployment, self.names, begins, at):
                if before < at:
                    self.model.step(before, values)

    @property
    def _method(self) -> Method:
        if self._loaded is None:
            self._loaded = METHODS.load(self.method)
        return self._loaded


class Anomalies:
    name = "anomalies"

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._detectors = list(_detectors(watched))

    def fold(self, happened: Happened) -> list[Signal]:
        """Signals of points that are new in the database since the last time."""
        found: dict[tuple[float, str], tuple[Detector, Found]] = {}
        for detector in self._detectors:
            for at, one in detector.follow(self._watched.store, self._watched.deployment, happened.until):
                place = at, detector.slice
                if place not in found or one.ratio > found[place][1].ratio:
                    found[place] = detector, one
        signals = [self._signal(at, part, detector, one) for (at, part), (detector, one) in sorted(found.items(), key=lambda item: item[0])]
        worst: dict[float, Signal] = {}
        for signal in signals:
            if signal.at not in worst or signal.value > worst[signal.at].value:
                worst[signal.at] = signal
        return [*signals, *(Signal(s.deployment, s.name, s.at, s.value, s.count, limit=1.0, evidence=s.evidence) for s in worst.values())]

    def _signal(self, at: float, part: str, detector: Detector, found: Found) -> Signal:
        joint = len(detector.names) > 1
        evidence: dict[str, Any] = {"method": detector.method, "signal": detector.names[found.why.get("farthest", 0)]}
        evidence |= {"seen": _rounded(found.seen), "expected": _rounded(found.expected)} if joint else {}
        evidence |= {} if joint else {"seen": _figure(found.seen[0]), "expected": _figure(found.expected[0])}
        evidence |= {name: value for name, value in found.why.items() if name != "farthest" and value == value}
        return Signal(self._watched.deployment, "anomaly", at, found.ratio, 1.0, "", part, 1.0, evidence=evidence)

    def state(self) -> bytes:
        return json.dumps({detector.key: detector.cursor for detector in self._detectors}).encode()

    def restore(self, state: bytes) -> None:
        """Raises ValueError."""
        known = json.loads(state)
        if not isinstance(known, Mapping) or not all(isinstance(at, (int, float, type(None))) for at in known.values()):
            raise ValueError("no state of anomalies")
        for detector in self._detectors:
            detector.cursor = known.get(detector.key)


def _detectors(watched: Watched) -> Iterator[Detector]:
    """Those of the file. Of several signals each has its share of the false alarms that the entry allows."""
    for entry in watched.monitor.anomalies:
        together = METHODS.load(entry.method).joint and len(entry.signals) > 1
        groups = [tuple(entry.signals)] if together else [(name,) for name in entry.signals]
        settings = Settings(entry.false_alarms / len(groups), entry.season)
        for names in groups:
            yield Detector(entry.method, names, settings, watched.monitor.window)


def _points(store: Store, deployment: str, names: Sequence[str], since: float, until: float) -> Iterator[Point]:
    """Instants at which all of `names` were measured on the whole deployment."""
    held: dict[float, dict[str, float]] = {}
    for row in store.signals.read(deployment, name=names, since=since, until=until, whole=True):
        held.setdefault(row.at, {})[row.name] = row.value
    for at in sorted(held):
        if len(held[at]) == len(set(names)):
            yield at, tuple(held[at][name] for name in names)


def _history(points: Sequence[Point], window_s: float) -> History:
    import numpy as np

    return History(np.array([at for at, _ in points]), np.array([values for _, values in points], dtype=float), window_s)


def _rounded(values: Sequence[float]) -> list[float]:
    return [_figure(value) for value in values]


def _figure(value: float) -> float:
    return float(f"{value:.6g}")
