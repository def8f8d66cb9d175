"""The highest rate that keeps a promise about latency: which rate to try next, and what a trial proves. Pure: values in, values out.

A trial proves that the promise "at most a share s of requests is slower than L" holds when the upper end of a Wilson interval (1927) of the
slow share lies below s, and that it is broken when the lower end lies above. Latencies that follow each other are alike, so the interval
counts fewer requests than there were: as many as the spread of the slow share over ten blocks in time says (design effect, Kish 1965).
Near saturation that is still too few: on a simulated queue at the very edge, one trial in six was kept, not one in twenty (tests say so).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from penstock.core.errors import BadInput
from penstock.core.units import seconds
from penstock.monitoring.wilson import bounds

Verdict = Literal["kept", "broken", "open"]
BLOCKS = 10
Z = 1.833  # one-sided 95 % of Student's t with as many degrees of freedom as blocks less one
GROWTH = 2.0


@dataclass(frozen=True, slots=True)
class Promise:
    """`share` of requests answered well within `limit_s`. Failed requests count as slow. `of`: the latency or the first token's."""

    share: float
    limit_s: float
    of: Literal["latency", "first_token"] = "latency"

    @property
    def least(self) -> int:
        """Requests without a single slow one that prove it: fewer prove nothing."""
        return math.ceil(Z * Z * self.share / (1 - self.share)) + 1


def parse_promise(text: str) -> Promise:
    """`p95=200ms`, `ttft.p99=1s`. Raises BadInput with the form."""
    match = re.fullmatch(r"(?:(latency|ttft|first_token)\.)?p([0-9]{1,2}(?:\.[0-9]+)?)\s*(?:=|<=?)\s*([0-9.]+\s*(?:ms|s|m))", text.strip())
    if match is None or not 0 < float(match[2]) < 100:
        raise BadInput(f"--slo {text!r} is not a promise", remedy="Write it like p95=200ms or ttft.p95=300ms.")
    return Promise(float(match[2]) / 100, seconds(match[3].replace(" ", "")), "latency" if match[1] in (None, "latency") else "first_token")


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial at `rate` showed. `slow_share` with its interval; `figures` go into the report."""

    rate: float
    verdict: Verdict
    slow_share: float
    low: float
    high: float
    requests: int
    figures: dict[str, float] = field(default_factory=dict)


def judge(slow: Sequence[bool], promise: Promise) -> tuple[Verdict, float, float, float]:
    """Verdict, slow share, and its interval; `slow` in the order in which requests were due."""
    count = len(slow)
    if not count:
        return "open", 0.0, 0.0, 1.0
    share = sum(slow) / count
    low, high = bounds(share, count / design_effect(slow), Z)
    allowed = 1 - promise.share
    return ("kept" if high <= allowed else "broken" if low > allowed else "open"), share, low, high


def design_effect(slow: Sequence[bool]) -> float:
    """How many times more the slow share varies over blocks in time than independent requests would; at least 1."""
    size = len(slow) // BLOCKS
    share = sum(slow) / len(slow)
    if size < 2 or share in (0.0, 1.0):
        return 1.0
    means = [sum(slow[at * size : (at + 1) * size]) / size for at in range(BLOCKS)]
    middle = sum(means) / BLOCKS
    spread = sum((mean - middle) ** 2 for mean in means) / (BLOCKS - 1)
    return min(float(size), max(1.0, spread / (share * (1 - share) / size)))


@dataclass(slots=True)
class Search:
    """Doubles the rate until the promise breaks, then halves the gap until it is within `resolution`."""

    first: float
    most: float
    resolution: float = 0.05
    kept: float | None = None
    broken: float | None = None

    def next(self) -> float | None:
        """The rate to try; None when the knee is known (or `most` was kept, or nothing above a thousandth of `first` was)."""
        if self.kept is None:
            rate = self.first if self.broken is None else self.broken / 4
            return rate if rate >= self.first / 1000 else None
        if self.broken is None:
            return None if self.kept >= self.most else min(self.kept * GROWTH, self.most)
        if self.broken / self.kept <= 1 + self.resolution:
            return None
        return math.sqrt(self.kept * self.broken) if self.broken / self.kept > 1.5 else (self.kept + self.broken) / 2

    def learn(self, rate: float, verdict: Verdict) -> None:
        """What stayed open counts as broken: a rate is called good only when that was shown."""
        if verdict == "kept":
            self.kept = max(rate, self.kept or 0.0)
        else:
            self.broken = min(rate, self.broken or math.inf)


def turning_point(points: Sequence[tuple[float, float]]) -> float | None:
    """The rate where latency turns up: the point of the curve farthest below its chord (Kneedle, Satopää et al. 2011).

    `points` are (rate, latency), ascending by rate. None for fewer than four, or where latency hardly rises.
    """
    if len(points) < 4 or points[-1][1] < 1.5 * points[0][1]:
        return None
    (x0, y0), (x1, y1) = points[0], points[-1]
    below = [((x - x0) / (x1 - x0) - (y - y0) / (y1 - y0), x) for x, y in points]
    farthest = max(below)
    return farthest[1] if farthest[0] > 0.05 else None
