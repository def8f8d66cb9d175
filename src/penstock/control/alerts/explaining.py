"""Causes of an alert, worked out beside the control loop from the records before and during it, one alert of a monitor at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.control.alerts.courier import Courier
from penstock.control.alerts.rows import change
from penstock.control.alerts.telling import Errand
from penstock.control.explain import Span, explain
from penstock.control.world import World
from penstock.monitoring.causes.outcomes import kpi_of
from penstock.store.resources import Resource

YOUNG_S = 900.0  # an alert that has fired for longer is not explained by itself any more
LONGEST_S = 6 * 3600.0
TIMES_BEFORE, LEAST_BEFORE_S = 4.0, 3600.0  # what it is compared with: so many times as long as it lasted, at least an hour
KEPT = 5  # causes


@dataclass(frozen=True, slots=True)
class Explaining:
    """`window_s`: of the signals, whose first one over the limit began before it was measured."""

    world: World
    monitor: Resource
    courier: Courier
    window_s: float

    def errands(self, rows: Iterable[Resource]) -> list[Errand]:
        """The next alert that wants an explanation; those whose explanation failed are told why there is none."""
        wanting = [row for row in rows if self._wants(row)]
        if any(self.courier.busy(self._name(row)) for row in wanting):
            return []
        for row in wanting:
            outcome = self.courier.take(self._name(row))
            if outcome is None:
                return [Errand(self._name(row), lambda row=row: self._explained(row))]  # type: ignore[misc]
            if outcome.error is not None:
                change(self.world, row, causes={"causes": [], "note": outcome.error})
        return []

    def _wants(self, row: Resource) -> bool:
        young = self.world.clock.now() - row.status["fired_at"] < YOUNG_S
        return row.status.get("causes") is None and young and signal_of(row) is not None

    def _explained(self, row: Resource) -> None:
        signal, status, world = signal_of(row), row.status, self.world
        assert signal is not None
        until = status["fired_at"]
        since = max(status["since"] - self.window_s, until - LONGEST_S)
        before = Span(since - max(TIMES_BEFORE * (until - since), LEAST_BEFORE_S), since)
        found = explain(world.home.gateway, row.spec["deployment"], signal, before, Span(since, until))
        told = {**found, "causes": found["causes"][:KEPT]}
        text = "; ".join(cause["text"] for cause in told["causes"]) or found["note"]
        with world.store.database.begin():
            change(world, world.store.resources.get("alert", row.id), causes=told)
            world.store.events.add("alert", row.id, "alert.explained", text, told)

    def _name(self, row: Resource) -> str:
        return f"{self.monitor.id}/explain/{row.id}"


def signal_of(row: Resource) -> str | None:
    """Of the signals that an alert rests on, the first whose change can be explained; an anomaly's own signal for an anomaly."""
    facts: list[Mapping[str, Any]] = sorted(row.status.get("facts") or (), key=lambda fact: not fact["over"])
    for fact in facts:
        signal = fact["signal"]
        if signal == "anomaly":
            signal = (fact.get("evidence") or {}).get("signal") or fact["slice"].removeprefix("signal=")
        if kpi_of(signal) is not None or signal.startswith("drift"):
            return str(signal)
    return None
