"""Page and Hinkley's test (Page 1954; Hinkley 1971): has the mean of a stream risen above what it was by more than `tolerance`?

The sum of (value - mean so far - tolerance) is held against its lowest point; when it has risen by more than `threshold`, that is a change,
and the test begins anew. Not covered: falls.
"""

from __future__ import annotations

from typing import Any, Self

LEAST = 30


class PageHinkley:
    """`mean`: what it was; None: learnt from the stream itself as it goes. `forget`: share of the sum that stays with each value."""

    def __init__(self, threshold: float = 50.0, tolerance: float = 0.005, mean: float | None = None, forget: float = 1.0) -> None:
        if threshold <= 0 or not 0 < forget <= 1:
            raise ValueError("a threshold is above 0, and what is left of a sum at most all of it")
        self.threshold, self.tolerance, self.forget = threshold, tolerance, forget
        self.known = mean
        self._begin()

    def _begin(self) -> None:
        self.count, self.mean = 0, self.known or 0.0
        self.total, self.lowest = 0.0, 0.0

    @property
    def risen(self) -> float:
        """What is held against `threshold`."""
        return self.total - self.lowest

    def update(self, value: float) -> bool:
        self.count += 1
        if self.known is None:
            self.mean += (value - self.mean) / self.count
        self.total = self.total * self.forget + value - self.mean - self.tolerance
        self.lowest = min(self.lowest, self.total)
        found = self.count >= LEAST and self.risen > self.threshold
        if found:
            self._begin()
        return found

    def as_json(self) -> dict[str, Any]:
        names = ("threshold", "tolerance", "forget", "known", "count", "mean", "total", "lowest")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def parse(cls, value: Any) -> Self:
        try:
            known = None if value["known"] is None else float(value["known"])
            made = cls(float(value["threshold"]), float(value["tolerance"]), known, float(value["forget"]))
            made.count, made.mean = int(value["count"]), float(value["mean"])
            made.total, made.lowest = float(value["total"]), float(value["lowest"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this is no state of Page and Hinkley's test ({error})") from error
        return made
