"""The search and its statistics, on queues that are simulated here: no server, no clock."""

from __future__ import annotations

import random

import pytest

from penstock.control.loadtest.knee import Promise, Search, Z, design_effect, judge, parse_promise, turning_point
from penstock.core.errors import BadInput
from penstock.monitoring.wilson import bounds


def queue(rate: float, service_s: float, count: int, seed: int) -> list[float]:
    """Latencies of a single server with fixed service time and Poisson arrivals (M/D/1), by Lindley's recursion."""
    rng, wait, found = random.Random(seed), 0.0, []
    for _ in range(count):
        found.append(wait + service_s)
        wait = max(0.0, wait + service_s - rng.expovariate(rate))
    return found


def test_the_search_finds_where_a_queue_breaks_its_promise() -> None:
    """M/D/1 with 5 ms of service: its p95 passes 20 ms near 78 % of 200/s (checked by a run of a million)."""
    promise = Promise(0.95, 0.020)
    true = next(rate for rate in range(100, 200) if sorted(queue(rate, 0.005, 100_000, 1))[95_000] > 0.020)
    search, trials = Search(10, 10_000), 0
    while (rate := search.next()) is not None:
        verdict = judge([latency > promise.limit_s for latency in queue(rate, 0.005, 3000, trials)], promise)[0]
        search.learn(rate, verdict)
        trials += 1
    assert search.kept is not None
    assert 0.8 * true <= search.kept <= 1.05 * true
    assert trials < 15


def test_a_rate_over_the_edge_is_seldom_called_good() -> None:
    """Where exactly 5 % are slow in the long run, few trials pass; requests taken for independent would pass half of the time."""
    promise, rate = Promise(0.95, 0.020), 158.0
    allowed = sorted(queue(rate, 0.005, 300_000, 9))[285_000]

    def kept(rate: float) -> int:
        return sum(judge([latency > allowed for latency in queue(rate, 0.005, 2000, seed)], promise)[0] == "kept" for seed in range(100))

    assert kept(rate) <= 25
    assert kept(rate * 1.08) <= 3
    assert kept(rate * 0.85) >= 80


def test_few_requests_prove_nothing() -> None:
    promise = Promise(0.99, 1.0)
    assert judge([False] * 50, promise)[0] == "open"
    assert judge([False] * promise.least, promise)[0] == "kept"
    assert judge([], promise)[0] == "open"
    assert judge([True] * 50, promise)[0] == "broken"


def test_intervals_hold_what_they_say() -> None:
    low, high = bounds(0.05, 1000, Z)
    assert low < 0.05 < high
    assert high - low < 0.03
    assert design_effect([False] * 900 + [True] * 100) > 10  # all slow ones together: hardly more than one observation
    assert design_effect([number % 20 == 0 for number in range(1000)]) == 1.0


def test_the_search_ends_when_nothing_or_everything_is_kept() -> None:
    search = Search(100, 1000)
    for _ in range(50):
        if (rate := search.next()) is None:
            break
        search.learn(rate, "open")
    assert search.kept is None
    assert search.next() is None
    search = Search(100, 1000)
    while (rate := search.next()) is not None:
        search.learn(rate, "kept")
    assert (search.kept, search.broken) == (1000, None)


def test_latency_turns_up_at_the_corner() -> None:
    points = [(rate, 5.0 if rate <= 60 else 5.0 + (rate - 60) * 4) for rate in range(10, 110, 10)]
    assert turning_point([(float(x), y) for x, y in points]) == 60
    assert turning_point([(float(x), 5.0) for x in range(5)]) is None


def test_promises_are_read_or_refused() -> None:
    assert parse_promise("p95=200ms") == Promise(0.95, 0.2)
    assert parse_promise("ttft.p99<=1.5s") == Promise(0.99, 1.5, "first_token")
    for bad in ("95=1s", "p95", "p0=1s", "p95=200", "mean=1s"):
        with pytest.raises(BadInput, match="not a promise"):
            parse_promise(bad)
