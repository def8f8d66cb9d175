"""A tally as a report: percentiles, rates, a timeline, and whether the generator itself kept up. Plain values, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from penstock.control.loadtest.arrivals import Shape
from penstock.control.loadtest.tally import Tally

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
WINDOWS = 60  # of the timeline, at most
LATE_S = 0.002  # how late the generator's own p99 may be, whatever the latencies are
LATE_SHARE = 0.1  # … and as a share of the p99 latency
CPU_SHARE = 0.9


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (no interpolation); nan when there is none."""
    if not ordered:
        return math.nan
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def distribution(values: Iterable[float]) -> dict[str, float | int]:
    """Count, mean, percentiles and extremes in milliseconds. A percentile that too few values speak for is left out."""
    ordered = sorted(value for value in values if not math.isnan(value))
    found: dict[str, float | int] = {"count": len(ordered)}
    if not ordered:
        return found
    found |= {"mean_ms": _ms(math.fsum(ordered) / len(ordered)), "min_ms": _ms(ordered[0])}
    found |= {f"{name}_ms": _ms(percentile(ordered, share)) for name, share in SHARES.items() if len(ordered) * (1 - share) >= 1}
    return {**found, "max_ms": _ms(ordered[-1])}


def summarise(tally: Tally, seconds: float, *, start: float = 0.0, cpu_s: float | None = None, waited: int = 0) -> dict[str, Any]:
    """The numbers of one test that ran `seconds`, without its first `start` seconds (warm-up)."""
    rows = tally.slice(start, math.inf)
    good = [row for row in rows if tally.good[row]]
    span = max(seconds - start, 1e-9)
    latency = distribution(tally.latency(row) for row in good)
    tokens = sum(tally.tokens[row] for row in good)
    found: dict[str, Any] = {
        "seconds": round(span, 3),
        "requests": len(rows),
        "succeeded": len(good),
        "failed": len(rows) - len(good),
        "error_rate": (len(rows) - len(good)) / len(rows) if rows else 0.0,
        "errors": dict(tally.errors.most_common()),
        "first_messages": dict(tally.messages),
        "statuses": dict(tally.statuses.most_common()),
        "offered_rps": round(len(rows) / span, 3),
        "throughput_rps": round(len([row for row in good if tally.ended[row] <= seconds]) / span, 3),
        "latency": latency,
        "service_time": distribution(tally.ended[row] - tally.sent[row] for row in good),
        "completion_tokens_per_s": round(tokens / span, 2),
        "prompt_tokens": tally.prompt_tokens,
        "completion_tokens": tokens,
        "timeline": timeline(tally, seconds, start),
        "generator": generator(tally, latency, seconds, cpu_s, waited),
    }
    if any(not math.isnan(tally.first[row]) for row in good):
        found["first_token"] = distribution(tally.first[row] - tally.due[row] for row in good)
        found["inter_token"] = distribution(tally.gaps)
    return found


def generator(tally: Tally, latency: dict[str, float | int], seconds: float, cpu_s: float | None, waited: int) -> dict[str, Any]:
    """How well the generator did its own work; `valid` is false when its delay could be taken for the server's."""
    late = distribution(tally.late)
    worst = float(late.get("p99_ms", late.get("max_ms", 0.0)))
    limit = max(LATE_S * 1000, LATE_SHARE * float(latency.get("p99_ms", latency.get("max_ms", 0.0))))
    reasons = []
    if worst > limit:
        reasons.append(f"requests left up to {worst:.1f} ms late (p99), more than the {limit:.1f} ms that this test bears")
    if cpu_s is not None and cpu_s > CPU_SHARE * seconds:
        reasons.append(f"the generator used {cpu_s / seconds:.0%} of a core: it, not the server, may be the limit")
    found: dict[str, Any] = {"valid": not reasons, "reasons": reasons, "lateness": late, "waited_for_connection": waited}
    if cpu_s is not None:
        found |= {"cpu_share": round(cpu_s / max(seconds, 1e-9), 4), "cpu_us_per_request": round(cpu_s / max(1, len(tally)) * 1e6, 1)}
    return found


def timeline(tally: Tally, seconds: float, start: float = 0.0) -> list[dict[str, Any]]:
    """Windows of equal length (at least a second), by when requests were due: rate, percentiles, first token, errors, answers a second."""
    width = max(1.0, (seconds - start) / WINDOWS)
    count = max(1, math.ceil((seconds - start) / width - 1e-9))
    rows: list[list[int]] = [[] for _ in range(count)]
    answered = [0] * count
    for row, due in enumerate(tally.due):
        if due >= start:
            rows[min(count - 1, int((due - start) / width))].append(row)
        done = int((tally.ended[row] - start) / width)
        if tally.good[row] and 0 <= done < count:
            answered[done] += 1
    found = []
    for at, inside in enumerate(rows):
        long = min(width, seconds - start - at * width)
        ordered = sorted(tally.latency(row) for row in inside if tally.good[row])
        firsts = sorted(tally.first[row] - tally.due[row] for row in inside if tally.good[row] and not math.isnan(tally.first[row]))
        failed = sum(not tally.good[row] for row in inside)
        window: dict[str, Any] = {
            "at": round(start + at * width, 3),
            "offered_rps": round(len(inside) / long, 3),
            "answered_rps": round(answered[at] / long, 3),
            "error_rate": failed / len(inside) if inside else 0.0,
        }
        window |= {f"{name}_ms": _ms(percentile(ordered, SHARES[name])) for name in ("p50", "p95", "p99")} if ordered else {}
        window |= (
            {"first_token_p50_ms": _ms(percentile(firsts, 0.5)), "first_token_p95_ms": _ms(percentile(firsts, 0.95))} if firsts else {}
        )
        found.append(window)
    return found


def by_piece(tally: Tally, shape: Shape) -> list[dict[str, Any]]:
    """Each piece of the shape by itself: what latency was at which rate."""
    found, at = [], 0.0
    for piece in shape.pieces:
        rows = tally.slice(at, at + piece.seconds)
        good = [row for row in rows if tally.good[row]]
        found.append(
            {
                "at": round(at, 3),
                "seconds": piece.seconds,
                "rate": (piece.start + piece.end) / 2,
                "requests": len(rows),
                "failed": len(rows) - len(good),
                "latency": distribution(tally.latency(row) for row in good),
            }
        )
        at += piece.seconds
    return found


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 4)
