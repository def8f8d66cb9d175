"""Outcomes are read once each, from lines and tables, whatever is held in memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from penstock.control.outcomes import Span, ended, measured, rewarded, seconds_of
from penstock.control.recent import Recent
from penstock.control.rollouts.conditions import conditions_of
from penstock.serving.feedback import Feedback
from penstock.serving.record_files import compact
from penstock.serving.records import Record

NOW = 1_700_000_000.0


def record(n: int, ts: float, **more: Any) -> Record:
    values: dict[str, Any] = {"status": 200, "total_ms": 100.0, "version": "1", "key": "k", "session": f"s{n}", "experiment": "e", **more}
    fixed = {"replica": "r", "route": "/v1/classify", "bytes_in": 1, "bytes_out": 1, "prompt_tokens": 1, "completion_tokens": 1}
    return Record(ts=ts, id=f"req-{n}", model="m", queue_ms=1.0, first_ms=2.0, attempts=1, **fixed, **values)


def write(gateway: Path, *records: Record, cut: bool = False) -> Path:
    (gateway / "records").mkdir(parents=True, exist_ok=True)
    path = gateway / "records" / f"{time.strftime('%Y%m%d-%H', time.gmtime(NOW))}-7-1.jsonl"
    data = b"".join(orjson.dumps(r._asdict(), option=orjson.OPT_APPEND_NEWLINE) for r in records)
    with path.open("ab") as file:
        file.write(data[:-9] if cut else data)
    return path


def say(gateway: Path, *said: Feedback) -> None:
    (gateway / "feedback").mkdir(parents=True, exist_ok=True)
    path = gateway / "feedback" / f"{time.strftime('%Y%m%d-%H', time.gmtime(NOW))}-7.jsonl"
    with path.open("ab") as file:
        file.write(b"".join(orjson.dumps(f, option=orjson.OPT_APPEND_NEWLINE) for f in said))


def ids(rows: list[Any]) -> list[str]:
    return [row["id"] for row in rows]


@pytest.mark.parametrize("most", [2, 100])
def test_each_request_counts_in_the_span_in_which_it_was_over(tmp_path: Path, most: int) -> None:
    recent, found = Recent(tmp_path, "e", most), []
    for step in range(6):
        now = NOW + step
        write(tmp_path, record(step, now), record(100 + step, now - 3.0, total_ms=3500.0), record(200 + step, now, experiment="other"))
        found += ids(ended(recent, Span(now - 1, now), 10.0))
    found += ids(ended(recent, Span(NOW + 5, NOW + 9), 10.0))
    assert sorted(found) == sorted(f"req-{n}" for step in range(6) for n in (step, 100 + step))


def test_half_a_line_is_read_when_it_is_whole_and_a_table_is_not_read_twice(tmp_path: Path) -> None:
    recent, span = Recent(tmp_path, "e"), Span(NOW - 1, NOW + 9)
    path = write(tmp_path, record(1, NOW), cut=True)
    assert ended(recent, span, 5.0) == []
    with path.open("ab") as file:
        file.write(orjson.dumps(record(1, NOW)._asdict(), option=orjson.OPT_APPEND_NEWLINE)[-9:])
    assert ids(ended(recent, span, 5.0)) == ["req-1"]
    write(tmp_path, record(2, NOW + 0.5))
    compact(tmp_path / "records")
    assert ids(ended(recent, span, 5.0)) == ["req-1", "req-2"]
    assert ids(ended(recent, span, 5.0)) == ["req-1", "req-2"]
    assert ids(ended(Recent(tmp_path, "e"), span, 5.0)) == ["req-1", "req-2"]


def test_a_version_that_failed_is_blamed_though_another_one_answered(tmp_path: Path) -> None:
    write(tmp_path, record(1, NOW, label="right"), record(2, NOW, label="right", failed_on=("2", "1")))
    say(tmp_path, Feedback(NOW + 1, "req-2", "fb-1", "k", 1.0))
    span = Span(NOW - 1, NOW + 9)
    for recent in (Recent(tmp_path, "e"), Recent(tmp_path, "e", most=1)):
        found = {row["id"]: (row["version"], row["status"], row["label"]) for row in ended(recent, span, 5.0)}
        assert found == {"req-1": ("1", 200, "right"), "req-2/failed": ("2", 502, None)}
        assert rewarded(recent, span) == []  # what is said of the answer is said of another version
    conditions = conditions_of(["error_rate > 2%"])
    assert [conditions[0].value(row) for row in ended(Recent(tmp_path, "e"), span, 5.0)] == [0.0, 1.0]


def test_only_drawn_requests_count(tmp_path: Path) -> None:
    odd = [{"shadow_of": "req-9"}, {"fallback_for": "other"}, {"version": None}, {"ts": NOW - 50}]
    write(tmp_path, record(0, NOW), *(record(n, **{"ts": NOW, **more}) for n, more in enumerate(odd, 1)))
    assert ids(ended(Recent(tmp_path, "e"), Span(NOW - 100, NOW + 1, NOW - 10), 100.0)) == ["req-0"]


def test_scores_come_from_the_key_that_asked_also_late_and_after_a_restart(tmp_path: Path) -> None:
    write(tmp_path, *(record(n, NOW + n, version=str(1 + n % 2)) for n in range(10)))
    said = [Feedback(NOW + 20, f"req-{n}", f"fb-{n}", "k", 1.0 if n % 2 else -0.5) for n in range(10)]
    say(tmp_path, *said, Feedback(NOW + 20, "req-1", "fb-x", "somebody", -1.0), Feedback(NOW + 20, "req-2", "fb-y", "k"))
    small, fresh = Recent(tmp_path, "e", most=4), Recent(tmp_path, "e")
    list(small.records(NOW, NOW + 1))
    for recent in (small, fresh):
        found = rewarded(recent, Span(NOW + 15, NOW + 25))
        assert sorted((o.version, o.value) for o in found) == [("1", 0.25)] * 5 + [("2", 1.0)] * 5
        assert rewarded(recent, Span(NOW + 20, NOW + 30)) == [], "a span is open at its beginning"


def test_latency_scores_go_there_and_back_and_failures_are_slowest(tmp_path: Path) -> None:
    write(tmp_path, record(0, NOW, total_ms=250.0), record(1, NOW, status=502, total_ms=1.0), record(2, NOW, status=499))
    rows = ended(Recent(tmp_path, "e"), Span(NOW - 1, NOW + 1), 5.0)
    good, bad = measured(rows, "latency")
    assert seconds_of(good.value) == pytest.approx(0.25)
    assert bad.value == 0.0
    assert [o.value for o in measured(rows, "success")] == [1.0, 0.0]
