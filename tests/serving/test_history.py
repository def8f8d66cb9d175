"""Questions to records on disk: filters, order, KPIs by group, over lines and Parquet alike."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from penstock.core.errors import BadInput
from penstock.serving.feedback import FeedbackWriter, parse_feedback
from penstock.serving.history import Wanted, kpis, newest, with_id
from penstock.serving.record_files import compact
from penstock.serving.records import Record, RecordWriter

NOW = float(int(time.time()) - 1000)


def record(number: int, version: str = "1", status: int = 200, total: float = 10.0) -> Record:
    return Record(
        *(NOW + number, f"req-{number}", "m", version, "r", "/v1/completions", "key-1", status, 10, 20),
        *(3, 10, 1.0, total / 2, total, 1),
        cost_usd=0.01,
        energy_wh=0.5,
    )


@pytest.fixture(params=["lines", "parquet", "both"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Version 1: 100 requests, 1 to 100 ms, ten of them errors; version 2: 10 good ones, 4 refused, 1 cancelled, 2 shadow copies."""
    records = tmp_path / "records"
    writer = RecordWriter(records, segment_bytes=4000)
    for number in range(100):
        writer.write([record(number, status=502 if number % 10 == 9 else 200, total=number + 1.0)])
    for number in range(100, 115):
        writer.write([record(number, "2", 200 if number < 110 else 429 if number < 114 else 499)])
    writer.write([record(115 + n, "2")._replace(shadow_of="req-3", id=f"copy-{n}") for n in range(2)])
    if request.param != "lines":
        compact(records, now=time.time() + (7200 if request.param == "parquet" else 0))
    return tmp_path


def test_kpis_of_versions(folder: Path) -> None:
    one, two, shadow = kpis(folder, Wanted())
    assert (one["model"], one["version"], one["shadow"]) == ("m", "1", False)
    assert (one["requests"], one["errors"], one["refused"], one["cancelled"]) == (100, 10, 0, 0)
    assert one["p50_ms"] == pytest.approx(50, abs=1.5)
    assert one["p99_ms"] == pytest.approx(98.1, abs=1)
    assert one["first_p50_ms"] == pytest.approx(one["p50_ms"] / 2)
    assert one["requests_per_s"] == pytest.approx(100 / 99)
    assert (one["prompt_tokens"], one["completion_tokens"]) == (300, 1000)
    assert one["cost_usd"] == pytest.approx(1.0)
    assert one["energy_wh"] == pytest.approx(50)
    assert (two["version"], two["requests"], two["errors"], two["refused"], two["cancelled"]) == ("2", 15, 0, 4, 1)
    assert two["tokens_per_s"] == pytest.approx(10 / 0.005)
    assert (shadow["version"], shadow["shadow"], shadow["requests"]) == ("2", True, 2)


def test_kpis_by_other_groups_and_only_of_what_is_wanted(folder: Path) -> None:
    found = {row["status"]: row["requests"] for row in kpis(folder, Wanted(), ["status"]) if not row["shadow"]}
    assert found == {200: 100, 502: 10, 429: 4, 499: 1}
    (row,) = kpis(folder, Wanted(NOW + 5, NOW + 8, {"version": "1"}))
    assert row["requests"] == 3
    assert kpis(folder, Wanted(NOW + 1e6)) == []
    with pytest.raises(BadInput, match="colour"):
        kpis(folder, Wanted(), ["colour"])


def test_the_newest_come_first_and_older_hours_are_left_unread(folder: Path) -> None:
    assert [r["id"] for r in newest(folder / "records", Wanted(fields={"version": "1"}), 3)] == ["req-99", "req-98", "req-97"]
    assert [r["id"] for r in newest(folder / "records", Wanted(NOW + 3, NOW + 5), 10)] == ["req-4", "req-3"]
    (folder / "records" / "20000101-00-1-1.parquet").write_bytes(b"not Parquet")
    assert len(newest(folder / "records", Wanted(), 5)) == 5


def test_one_request_with_its_copies(folder: Path) -> None:
    assert [r["id"] for r in with_id(folder / "records", "req-3")] == ["req-3", "copy-0", "copy-1"]
    assert with_id(folder / "records", "nope") == []


def test_no_folder_is_no_requests(tmp_path: Path) -> None:
    assert kpis(tmp_path / "none", Wanted()) == []
    assert newest(tmp_path / "none", Wanted(), 5) == []


def test_scores_of_feedback_stand_beside_the_version_that_earned_them(folder: Path) -> None:
    writer = FeedbackWriter(folder / "feedback")
    for number, (thumb, key) in enumerate([("up", "key-1"), ("down", "key-1"), ("up", "key-1"), ("down", "a stranger")]):
        writer.write(parse_feedback({"id": f"req-{number}", "thumbs": thumb}, key, NOW + 500))
    writer.write(parse_feedback({"id": "req-105", "score": 0.5}, "key-1", NOW + 500))
    writer.write(parse_feedback({"id": "req-106", "comment": "hm"}, "key-1", NOW + 500))
    one, two, _ = kpis(folder, Wanted())
    assert (one["requests"], one["rated"], one["score"]) == (100, 3, pytest.approx(1 / 3))
    assert (two["requests"], two["rated"], two["score"]) == (15, 1, 0.5)
