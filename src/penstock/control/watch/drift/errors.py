"""Concept drift as it happens: every rated answer goes to two streaming detectors, which need no full window to raise an alarm.

ADWIN finds any change of the share of wrong answers; Page and Hinkley's test, which knows the reference's share, a rise above it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from penstock.monitoring.drift.adwin import Adwin
from penstock.monitoring.drift.page_hinkley import PageHinkley
from penstock.monitoring.drift.rise import WRONG
from penstock.monitoring.drift.standard import Standard

RECENT = 100


class Errors:
    """Of one version. `standard`: of drift.feedback.errors. `told`: an alarm was raised that no full window has followed yet."""

    def __init__(self, standard: Standard) -> None:
        part, asked = standard.parts[0], standard.asked
        sketch: Any = part.sketch
        self.usual = sketch.counts.get(WRONG, 0.0) / max(sketch.rows, 1.0)
        self.limit = part.limit
        self.adwin = Adwin(asked.false_alarms)
        spread, tolerance = max(self.usual * (1 - self.usual), 1 / max(sketch.rows, 1.0)), part.limit / 2
        # Siegmund 1985: such a sum passes h within n values with a probability of about n exp(-2 h tolerance / variance).
        self.rising = PageHinkley(spread * math.log(asked.window / asked.false_alarms) / (2 * tolerance), tolerance, self.usual)
        self.recent: list[bool] = []
        self.told = False

    def update(self, wrong: bool) -> dict[str, Any] | None:
        """What was found, when the share of wrong answers has risen by more than the limit; once a window."""
        self.recent = [*self.recent[-RECENT + 1 :], wrong]
        found = [
            name
            for name, changed in (("adwin", self.adwin.update(float(wrong))), ("page_hinkley", self.rising.update(float(wrong))))
            if changed
        ]
        if not found:
            return None
        recent = sum(self.recent) / len(self.recent)
        now, counted = (self.adwin.mean, self.adwin.width) if "adwin" in found else (recent, len(self.recent))
        rise = now - self.usual
        if rise <= self.limit or self.told:
            return None
        self.told = True
        return {"found": found, "rise": rise, "share": round(now, 4), "count": counted}

    def as_json(self) -> dict[str, Any]:
        return {
            "adwin": self.adwin.as_json(),
            "rising": self.rising.as_json(),
            "recent": [int(wrong) for wrong in self.recent],
            "told": self.told,
        }

    def take_back(self, value: Mapping[str, Any]) -> None:
        """Raises ValueError."""
        self.adwin, self.rising = Adwin.parse(value["adwin"]), PageHinkley.parse(value["rising"])
        self.recent, self.told = [bool(wrong) for wrong in value["recent"]], bool(value["told"])
