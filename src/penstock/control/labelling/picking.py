"""Which requests are put to people: those the model was least sure of, and those of windows that drifted. Pure.

The day's number is spread over the day: what was not used is there for later, so that a drift in the evening still finds questions to ask.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from penstock.control.labelling.queue import Wanted

DRIFTED = 1.0  # what a request of a drifted window counts beside being unsure, which is 0 to 1
DAY_S = 86_400.0
BURST = 0.25  # of a day's number that may be saved up


@dataclass(frozen=True, slots=True)
class Allowance:
    """Questions that may be asked now, a number that grows with time; JSON values."""

    left: float
    at: float

    def later(self, now: float, per_day: int) -> Allowance:
        grown = self.left + max(now - self.at, 0.0) * per_day / DAY_S
        return Allowance(min(grown, max(per_day * BURST, 1.0)), max(now, self.at))

    def spent(self, count: int) -> Allowance:
        return replace(self, left=self.left - count)


def pick(records: Iterable[Mapping[str, Any]], drifted: frozenset[str], rated: frozenset[str], most: int) -> list[Wanted]:
    """At most `most` of the records, the most wanted first, each text once. `drifted`: versions whose input or output drifts now."""
    by_text: dict[str, Wanted] = {}
    for record in records:
        text = record.get("text_in")
        if not text or record.get("status") != 200 or record.get("shadow_of") is not None or record["id"] in rated:
            continue
        if record.get("training") is False or record.get("label") is None:
            continue
        confidence = record.get("confidence")
        unsure, drift = 1.0 - float(confidence if confidence is not None else 1.0), record.get("version") in drifted
        why = "drift" if drift else "uncertain"
        weight = unsure + DRIFTED * drift
        wanted = Wanted(record["id"], record.get("key"), text, record.get("label"), confidence, why, round(weight, 6), float(record["ts"]))
        if text not in by_text or by_text[text].weight < wanted.weight:
            by_text[text] = wanted
    return heapq.nlargest(most, by_text.values(), key=lambda one: (one.weight, one.at))
