"""Back to normal after overload: when latency is again what it was at the same rate before. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from penstock.control.loadtest.summary import percentile
from penstock.control.loadtest.tally import Tally

NORMAL = 1.5  # times the latency before
STEADY = 3  # windows in a row


@dataclass(frozen=True, slots=True)
class Recovery:
    """`seconds` from the end of the peak until latency was normal again for good; None: not within the test."""

    before_p95_ms: float
    peak_p95_ms: float
    peak_error_rate: float
    after_p95_ms: float
    seconds: float | None


def recovery(tally: Tally, peak: tuple[float, float], seconds: float, width: float = 0.5) -> Recovery:
    """`peak`: when the overload began and ended (seconds from the start). Judged in windows of `width` seconds by when due."""
    begun, ended = peak
    before = _p95(tally, begun * 0.2, begun)  # the first fifth may still be warming up
    limit = NORMAL * before + 0.001  # a millisecond is noise
    failing = _failed(tally, 0.0, begun)
    back: float | None = None
    steady = 0
    for window in range(max(0, int((seconds - ended) / width))):
        at = ended + window * width
        rows = tally.slice(at, at + width)
        if not rows:
            continue
        bad = sum(not tally.good[row] for row in rows)
        fine = bad <= math.ceil(2 * failing * len(rows)) and _p95(tally, at, at + width) <= limit
        steady = steady + 1 if fine else 0
        if steady == 1:
            back = at - ended
        elif not fine:
            back = None
    found = back if steady >= STEADY else None
    after = _p95(tally, ended + (found or 0.0), seconds)
    return Recovery(_ms(before), _ms(_p95(tally, begun, ended)), _failed(tally, begun, ended), _ms(after), found)


def _p95(tally: Tally, start: float, end: float) -> float:
    return percentile(sorted(tally.latency(row) for row in tally.slice(start, end) if tally.good[row]), 0.95)


def _failed(tally: Tally, start: float, end: float) -> float:
    rows = tally.slice(start, end)
    return sum(not tally.good[row] for row in rows) / len(rows) if rows else 0.0


def _ms(seconds: float) -> float:
    return math.nan if math.isnan(seconds) else round(seconds * 1000, 3)
