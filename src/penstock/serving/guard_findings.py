"""A check with what is done about its findings, and the count of them that becomes flags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from penstock.screening.contract import Check, Finding


@dataclass(frozen=True, slots=True, eq=False)
class Rail:
    action: Literal["block", "mask", "flag"]
    check: Check


class Tally:
    """What was found in one request, or in its answer; texts are not kept."""

    def __init__(self, side: Literal["input", "output"], rails: Sequence[Rail]) -> None:
        self._side, self._rails = side, rails
        self._counts: dict[Rail, Counter[str]] = {}
        self._scores: dict[Rail, float] = {}

    def add(self, rail: Rail, found: Sequence[Finding]) -> None:
        if rail.check.whole:
            self._scores[rail] = max(self._scores.get(rail, 0.0), *(finding.score for finding in found))
        else:
            self._counts.setdefault(rail, Counter()).update(finding.kind for finding in found)

    def has(self, rail: Rail) -> bool:
        return rail in self._counts or rail in self._scores

    def flags(self) -> tuple[str, ...]:
        return tuple(f"{self._side}:{rail.check.name}:{rail.action}:{self._told(rail)}" for rail in self._rails if self.has(rail))

    def _told(self, rail: Rail) -> str:
        if rail in self._scores:
            return f"score={self._scores[rail]:.2f}"
        return ",".join(f"{kind}={count}" for kind, count in sorted(self._counts[rail].items()))
