"""The measure `labelling`: puts requests to people; its signal is how many wait for a label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from penstock.control.labelling.picking import Allowance, pick
from penstock.control.labelling.queue import KIND, OPEN, put
from penstock.control.watch.contract import Happened, Watched
from penstock.control.watch.ending import Ends
from penstock.store.signals import Signal

HELD = 2000  # records between two choices; beyond them the oldest go


class Labelling:
    name = "labelling"

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._allowance = Allowance(0.0, 0.0)
        self._held: list[Mapping[str, Any]] = []
        self._rated: set[str] = set()
        self._ends = Ends(watched.monitor.window)

    def fold(self, happened: Happened) -> list[Signal]:
        """Chooses at the end of each window."""
        wish = self._watched.monitor.labelling
        assert wish is not None
        self._held = [*self._held, *(record for record in happened.records if record.get("text_in"))][-HELD:]
        self._rated |= {rated.record["id"] for rated in happened.rated if rated.said.label is not None}
        if self._allowance.at == 0.0:
            self._allowance = Allowance(1.0, happened.until)
        if (end := self._ends.passed(happened.until)) is None:
            return []
        self._allowance = self._allowance.later(happened.until, wish.per_day)
        chosen = pick(self._held, self._drifted(), frozenset(self._rated), int(self._allowance.left))
        made = [put(self._watched.store, self._watched.deployment, one, wish.annotators) for one in chosen]
        self._allowance = self._allowance.spent(sum(row is not None for row in made))
        self._held, self._rated = [], set()
        waiting = len(self._watched.store.resources.list(KIND, name=self._watched.deployment, phase=OPEN, limit=10_000))
        return [Signal(self._watched.deployment, "labelling.open", end, float(waiting), float(len(chosen)))]

    def state(self) -> bytes:
        known = {"left": self._allowance.left, "at": self._allowance.at, "closed": self._ends.last}
        return json.dumps({**known, "held": self._held, "rated": sorted(self._rated)}).encode()

    def restore(self, state: bytes) -> None:
        """Raises ValueError."""
        try:
            known = json.loads(state)
            self._allowance = Allowance(float(known["left"]), float(known["at"]))
            self._ends.last, self._held, self._rated = float(known["closed"]), list(known["held"]), set(known["rated"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no state of labelling: {error}") from error

    def _drifted(self) -> frozenset[str]:
        return frozenset(
            signal.version
            for signal in self._watched.store.signals.latest(self._watched.deployment)
            if signal.version and not signal.slice and signal.name in ("drift.input", "drift.output") and signal.over
        )


def make(watched: Watched) -> Labelling | None:
    return Labelling(watched) if watched.monitor.labelling is not None else None
