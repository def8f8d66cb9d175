"""Following records: nothing twice while it lives, at least once over restarts, through compaction and half lines."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from penstock.serving.record_files import compact
from penstock.serving.records import Record, RecordWriter
from penstock.serving.tail import Tail


def record(number: int, age: float = 0.0) -> Record:
    return Record(time.time() - age, f"req-{number}", "m", "1", "r", "/v1/classify", "key-1", 200, 10, 20, 3, 0, 0.1, 1.0, 1.5, 1)


def drained(tail: Tail, limit: int = 7) -> list[str]:
    found: list[str] = []
    while batch := tail.take(limit):
        assert len(batch) <= limit
        found += [each["id"] for each in batch]
        tail.done()
    return found


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("compacted", [False, True])
def test_every_record_once_over_segments_compaction_and_restarts(tmp_path: Path, restart: bool, compacted: bool) -> None:
    records, cursor = tmp_path / "records", tmp_path / "cursor.json"
    writer = RecordWriter(records, segment_bytes=6000)
    tail, seen = Tail(records, cursor, 0.0), list[str]()
    for turn in range(6):
        for number in range(10 * turn, 10 * turn + 10):
            writer.write([record(number)])
        batch = tail.take(4)
        seen += [each["id"] for each in batch]
        tail.done()
        if compacted and turn % 2:
            compact(records)
        if restart:
            tail = Tail(records, cursor, 0.0)
    seen += drained(tail)
    assert sorted(seen) == sorted(f"req-{n}" for n in range(60))
    assert tail.take(5) == []


def test_what_was_not_dealt_with_comes_again(tmp_path: Path) -> None:
    RecordWriter(tmp_path / "records").write([record(n) for n in range(5)])
    first = Tail(tmp_path / "records", tmp_path / "cursor.json", 0.0)
    taken = first.take(3)
    assert first.take(3) == taken
    assert [r["id"] for r in Tail(tmp_path / "records", tmp_path / "cursor.json", 0.0).take(3)] == ["req-0", "req-1", "req-2"]


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    RecordWriter(tmp_path / "records").write([record(0), record(1)])
    (path,) = (tmp_path / "records").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    tail = Tail(tmp_path / "records", tmp_path / "cursor.json", 0.0)
    assert drained(tail) == ["req-0"]
    path.write_bytes(whole)
    assert drained(tail) == ["req-1"]


def test_old_records_are_passed_over_at_first_and_a_broken_cursor_is_none(tmp_path: Path) -> None:
    RecordWriter(tmp_path / "records").write([record(0, age=1000), record(1)])
    (tmp_path / "cursor.json").write_text("{")
    assert drained(Tail(tmp_path / "records", tmp_path / "cursor.json", time.time() - 300)) == ["req-1"]
    assert drained(Tail(tmp_path / "records", tmp_path / "cursor.json", 0.0)) == []
