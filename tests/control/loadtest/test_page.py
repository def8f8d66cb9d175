"""The page of a report: every section where there is something to say, self-contained, nothing unescaped."""

from __future__ import annotations

from dataclasses import asdict
from html.parser import HTMLParser
from typing import Any

from penstock.control.loadtest.arrivals import constant, times
from penstock.control.loadtest.compare import compared
from penstock.control.loadtest.knee import Promise, Trial
from penstock.control.loadtest.page import page
from penstock.control.loadtest.recovery import recovery
from penstock.control.loadtest.summary import by_piece, distribution, summarise
from penstock.control.loadtest.tally import Tally


def tally(slow_from: float = 99.0, slow_to: float = 99.0) -> Tally:
    """100/s for 10 s, 20 ms each; 300 ms where slow; one in a hundred fails."""
    found = Tally()
    for number, at in enumerate(times(constant(100, 10), "uniform", 0)):
        seconds = 0.3 if slow_from <= at < slow_to else 0.02
        found.late.append(0.0001)
        found.add(at, at, at + 0.01, at + seconds, number % 100 != 7, 5)
        if number % 100 == 7:
            found.failed("status 429", "<b>slow down</b>")
    return found


def report() -> dict[str, Any]:
    trials = [
        Trial(rate, "kept" if rate < 80 else "broken", 0.01, 0.0, 0.03, 500, {"p50_ms": 5.0, "p95_ms": rate / 2, "throughput_rps": rate})
        for rate in (10.0, 20.0, 40.0, 80.0)
    ]
    stressed = tally(4, 6)
    knee = {"promise": asdict(Promise(0.95, 0.2)), "max_rate": 40.0, "broken_at": 80.0, "turns_up_at": 40.0, "limited_by": ""}
    return {
        "schema": 1,
        "kind": "penstock-load-test",
        "began": "2026-11-21T12:00:00+00:00",
        "target": {"url": "http://h", "path": "/v1/completions", "model": "<script>", "version": "3"},
        "load": {"kind": "constant", "arrivals": "poisson", "pieces": [asdict(piece) for piece in constant(100, 10).pieces]},
        "result": summarise(tally(), 10.0, cpu_s=0.4),
        "knee": {**knee, "trials": [asdict(trial) for trial in trials]},
        "stress": {"base_rate": 50.0, "peak_rate": 200.0, **asdict(recovery(stressed, (4, 6), 10)), "result": summarise(stressed, 10.0)},
    }


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002 (the parser's signature)
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_safe() -> None:
    text = page(report())
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert parser.seen.count("svg") == 7
    assert "script" not in parser.seen
    assert "b" not in parser.seen
    for words in ("The knee", "Overload", "Over time", "Time to first token", "status 429", "was normal again after 0.0 s"):
        assert words in text
    assert "Not valid" not in text
    late = report()
    late["result"]["generator"] |= {"valid": False, "reasons": ["it was late"]}
    assert "it was late" in page(late)


def test_numbers_are_those_of_the_tally() -> None:
    result = report()["result"]
    assert (result["requests"], result["failed"], result["errors"]) == (1000, 10, {"status 429": 10})
    assert result["latency"]["p99_ms"] == 20
    assert result["first_token"]["p50_ms"] == 10
    assert result["generator"]["valid"]
    assert sum(window["offered_rps"] for window in result["timeline"]) == 1000
    assert by_piece(tally(), constant(100, 10))[0]["failed"] == 10
    assert "p99_ms" not in distribution([0.1] * 50)  # half a request lies beyond it


def test_recovery_is_when_latency_is_normal_for_good() -> None:
    all_good = Tally()
    for at in times(constant(100, 10), "uniform", 0):
        all_good.add(at, at, None, at + (0.3 if 4 <= at < 7 else 0.02), True, 0)
    found = recovery(all_good, (4, 6), 10)
    assert (found.before_p95_ms, found.peak_p95_ms, found.seconds) == (20, 300, 1.0)
    never = recovery(tally(4, 99), (4, 6), 10)
    assert never.seconds is None


def test_two_reports_differ_where_they_do() -> None:
    one, two = report(), report()
    two["result"]["latency"]["p95_ms"] *= 2
    two["load"] = {"kind": "closed", "concurrency": 3}
    found = compared(one, two)
    ratios = {row["name"]: row["ratio"] for row in found["rows"]}
    assert ratios["latency.p95_ms"] == 2.0
    assert ratios["knee.max_rate"] == 1.0
    assert found["unlike"] == ["load"]
