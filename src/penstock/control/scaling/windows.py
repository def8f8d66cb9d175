"""Averages and maxima over the last seconds, as values: small enough to lie in a row, the same after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

BUCKETS = 30


@dataclass(frozen=True, slots=True)
class Bucket:
    """Sums over `count` looks since `at` (seconds since the epoch): requests in flight or waiting, waiting alone, requests a second."""

    at: float
    count: int
    demand: float
    waiting: float
    rate: float


@dataclass(frozen=True, slots=True)
class Average:
    demand: float = 0.0
    waiting: float = 0.0
    rate: float = 0.0


def put(buckets: Sequence[Bucket], now: float, seen: Average, span_s: float) -> tuple[Bucket, ...]:
    """`buckets` with one look more, and without what is older than `span_s` or, after the clock was set back, in the future."""
    kept = [b for b in buckets if now - span_s < b.at <= now]
    if kept and now - kept[-1].at < span_s / BUCKETS:
        last = kept[-1]
        kept[-1] = replace(
            last,
            count=last.count + 1,
            demand=last.demand + seen.demand,
            waiting=last.waiting + seen.waiting,
            rate=last.rate + seen.rate,
        )
    else:
        kept.append(Bucket(now, 1, seen.demand, seen.waiting, seen.rate))
    return tuple(kept)


def average(buckets: Sequence[Bucket], now: float, span_s: float) -> Average:
    """Over the part of the last `span_s` that was seen."""
    return mean([b for b in buckets if b.at > now - span_s] or buckets[-1:])


def mean(seen: Sequence[Bucket]) -> Average:
    """Every bucket counts alike, however often was looked in it."""
    size = max(len(seen), 1)
    return Average(
        sum(b.demand / b.count for b in seen) / size,
        sum(b.waiting / b.count for b in seen) / size,
        sum(b.rate / b.count for b in seen) / size,
    )


def growth(buckets: Sequence[Bucket]) -> float:
    """Requests by which demand grows a second; 0 unless the newer half of the window lies above the older by three standard errors.

    The error is the larger of what the buckets show and what steady Poisson arrivals alone would make: of a mean demand N whose requests
    take N / rate seconds (Little's law), an average over h seconds has the variance N · min(1, 2 (N / rate) / h).
    """
    half = len(buckets) // 2
    if half < 3:
        return 0.0
    older, newer = buckets[:half], buckets[-half:]
    first, second = mean(older), mean(newer)
    apart_s = (sum(b.at for b in newer) - sum(b.at for b in older)) / half
    rise, level, rate = second.demand - first.demand, (first.demand + second.demand) / 2, (first.rate + second.rate) / 2
    if rise <= 0 or apart_s <= 0:
        return 0.0
    shown = sum((b.demand / b.count - middle.demand) ** 2 for part, middle in ((older, first), (newer, second)) for b in part)
    takes_s = level / rate if rate > 0 else apart_s
    by_chance = 2 * level * min(1.0, 2 * takes_s / apart_s)
    error = max(shown / (half * (half - 1)), by_chance) ** 0.5
    return rise / apart_s if rise > 3 * error else 0.0


Peak = tuple[float, int]  # when (seconds since the epoch), how many


def peaks(kept: Sequence[Peak], now: float, value: int, span_s: float) -> tuple[Peak, ...]:
    """What may still be the largest value of the last `span_s`: falling values in order of time, so never more than there are values.

    The first is the largest. What lies in the future (the clock was set back) is dropped.
    """
    left = [(at, old) for at, old in kept if now - span_s < at <= now and old > value]
    return (*left, (now, value))
