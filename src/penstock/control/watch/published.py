"""Signals and alerts of what is followed, as the text that the gateway adds to its `/metrics` (serving/signals_file.py).

All signals are one metric, `penstock_signal`, told apart by the label `signal`: they then have the names of the pipeline file, and one rule
fits those that a plug-in adds. Not covered: slices. Their values may come from clients, so nothing bounds how many there will have been.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import orjson

from penstock.control.watch.followed import Followed
from penstock.core.errors import DiskFull, ReadOnly
from penstock.core.files import write_atomic
from penstock.core.home import Home
from penstock.monitoring.alerting.readings import Readings
from penstock.monitoring.alerting.rules import Rule, rules_of
from penstock.serving.metrics import Family, Labels
from penstock.serving.signals_file import FILE, HEAD
from penstock.spec.react import AlertRule
from penstock.store.signals import Signal
from penstock.store.store import Store

log = logging.getLogger("penstock.watch")
EVERY_S = 5.0
MOST_SERIES = 4000  # about half of what the gateway reads
MOST_ALERTS = 1000
FAMILIES: Mapping[str, str] = {
    "penstock_signal": "What was measured last, by signal; version empty: the whole deployment.",
    "penstock_signal_limit": "The own limit of a signal that has one, such as drift.",
    "penstock_alerts_firing": "Alerts that fire, by rule.",
    "penstock_signals_left_out": "Signals that are not told here because there are too many.",
}
BACK_S = 3600.0  # how far back signals are looked up at the start


@dataclass(slots=True)
class Published:
    """`take` what is delivered, `write` now and then."""

    home: Home
    store: Store
    _readings: dict[str, Readings] = field(default_factory=dict)
    _written: float = float("-inf")
    _refused: bool = False

    def take(self, signals: Iterable[Signal]) -> None:
        for signal in signals:
            if not signal.slice and math.isfinite(signal.value) and (found := self._readings.get(signal.deployment)) is not None:
                found.put(signal)

    def write(self, now: float, steady: float, followed: Mapping[str, Followed]) -> None:
        """If it is time. What the disk refuses is told once. Raises DatabaseUnavailable."""
        if steady - self._written < EVERY_S:
            return
        self._written = steady
        self._readings = {name: self._of(one, now) for name, one in followed.items()}
        text = "".join(self._render(now, followed)).encode()
        try:
            write_atomic(self.home.gateway / FILE, HEAD + text, sync=False)
            self._refused = False
        except (DiskFull, ReadOnly) as error:
            if not self._refused:
                log.error("%s; the gateway tells no signals meanwhile", error)
            self._refused = True

    def _of(self, one: Followed, now: float) -> Readings:
        window, known = one.watched.monitor.window, self._readings.get(one.name)
        if known is None or known.window_s != window:
            known = Readings(window)
            back = max(3 * window, min(BACK_S, 60 * window))
            for signal in self.store.signals.read(one.name, since=now - back, until=now):
                if not signal.slice:
                    known.put(signal)
        known.forget(now - 86400.0)
        return known

    def _render(self, now: float, followed: Mapping[str, Followed]) -> Iterator[str]:
        values, limits, alerts, dropped = (Family(name, "gauge", text) for name, text in FAMILIES.items())
        for labels, count in self._alerts(followed):
            alerts.add(labels, count)
        left_out = 0
        for signal in sorted(self._standing(now), key=lambda s: (s.version != "", s.deployment, s.version, s.name)):
            if len(values.series) + len(limits.series) >= MOST_SERIES:
                left_out += 1
                continue
            labels = (("model", signal.deployment), ("version", signal.version), ("signal", signal.name))
            values.set(labels, signal.value)
            if signal.limit is not None:
                limits.set(labels, signal.limit)
        dropped.set((), left_out)
        for family in (values, limits, alerts, dropped):
            yield from family.render()

    def _standing(self, now: float) -> Iterator[Signal]:
        return (signal for readings in self._readings.values() for signal in readings.standing(now))

    def _alerts(self, followed: Mapping[str, Followed]) -> Iterator[tuple[Labels, int]]:
        """Of every rule, those that do not fire too: a series that comes and goes makes poor alerts."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for name, one in followed.items():
            rules = _rules(orjson.dumps(one.row.spec.get("deploy", {}).get("alerts", [])), one.watched.monitor.window)
            counts.update({(name, rule.key, rule.severity): 0 for rule in rules})
        for row in self.store.resources.list("alert", phase="firing", limit=MOST_ALERTS):
            if row.name in followed:
                counts[row.name, row.spec["alert"], row.spec["severity"]] += 1
        for (name, alert, severity), count in counts.items():
            yield (("model", name), ("alert", alert), ("severity", severity)), count


@lru_cache(maxsize=1000)
def _rules(alerts: bytes, window_s: float) -> Sequence[Rule]:
    """None where another release wrote what this one cannot read: the monitor says so."""
    try:
        return rules_of([AlertRule.model_validate(rule) for rule in orjson.loads(alerts)], window_s)
    except ValueError:
        return ()
