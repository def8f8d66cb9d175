"""Every record once, in order, over processes, segments, compaction, restarts and clocks that go wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.control.watch import reader as module
from penstock.control.watch.reader import Batch, Reader, hour_of
from penstock.serving.record_files import compact
from penstock.testing.watched import Notes, record

T = 1_700_000_000 // 3600 * 3600.0
FLOOR = hour_of(T)


def fresh(folder: Path) -> Reader:
    return Reader(folder / "records", {}, FLOOR)


def ids(batch: Batch) -> list[str]:
    return [row["id"] for row in batch.rows]


def drained(reader: Reader, until: float, now: float | None = None) -> list[Batch]:
    found = [reader.take(until, until if now is None else now)]
    while found[-1].more:
        found.append(reader.take(until, until if now is None else now))
        assert len(found) < 1000
    return found


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 7)
    monkeypatch.setattr(module, "LIST_S", 0.0)


@given(st.integers(0, 2**32), st.integers(1, 3), st.booleans(), st.booleans())
@settings(max_examples=40)
def test_each_once_in_order_and_no_batch_goes_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, processes: int, restarts: bool, compacts: bool
) -> None:
    folder, draw = tmp_path_factory.mktemp("r"), random.Random(seed)
    notes = [Notes(folder, process) for process in range(1, processes + 1)]
    rows = [record(n, T + draw.uniform(0, 3 * 3600)) for n in range(draw.randrange(120))]
    rows.sort(key=lambda row: row["ts"] + row["total_ms"] / 1000)
    written, seen, at, segment = 0, list[str](), T, 1
    reader = fresh(folder)
    while at < T + 3 * 3600 + 100:
        at += draw.uniform(1, 2000)
        mine = [row for row in rows[written:] if row["ts"] + row["total_ms"] / 1000 <= at]
        written += len(mine)
        for row in mine:
            draw.choice(notes).records([row], segment)
        segment += draw.random() < 0.2
        for _ in range(draw.randrange(1, 4)):
            batch = reader.take(at, at)
            assert [row["at"] for row in batch.rows] == sorted(row["at"] for row in batch.rows)
            assert all(row["at"] <= batch.until for row in batch.rows)
            assert batch.until <= at
            seen += ids(batch)
            left = [row["id"] for row in rows[:written] if row["ts"] + row["total_ms"] / 1000 <= batch.until]
            assert set(left) <= set(seen)
        if compacts:
            compact(folder / "records", at)
        if restarts:
            reader = Reader(folder / "records", reader.places, reader.floor)
    seen += [name for batch in drained(reader, at) for name in ids(batch)]
    assert seen == [row["id"] for row in rows]
    assert reader.unread == 0


def test_records_after_the_instant_wait_for_it(tmp_path: Path) -> None:
    Notes(tmp_path).records([record(n, T + n) for n in range(5)])
    reader = fresh(tmp_path)
    assert ids(reader.take(T + 2.5, T + 4)) == ["req-0", "req-1", "req-2"]
    assert ids(reader.take(T + 2.5, T + 4)) == []
    again = Reader(tmp_path / "records", reader.places, reader.floor)
    for each in (reader, again):
        assert ids(each.take(T + 9, T + 9)) == ["req-3", "req-4"]


def test_half_a_line_waits_for_its_other_half_and_broken_ones_are_counted(tmp_path: Path) -> None:
    notes = Notes(tmp_path, 5)
    notes.records([record(0, T + 1)])
    name = f"records/{FLOOR}-5-1.jsonl"
    notes.append(name, b'{"ts": 1, "total_\n[]\n\n\xff\n')
    path = notes.append(name, b"")
    whole = path.read_bytes()
    notes.records([record(1, T + 2)])
    full = path.read_bytes()
    path.write_bytes(full[:-20])
    reader = fresh(tmp_path)
    assert ids(reader.take(T + 5, T + 5)) == ["req-0"]
    path.write_bytes(full)
    assert ids(reader.take(T + 6, T + 6)) == ["req-1"]
    assert reader.unread == whole.count(b"\n") - 1


@pytest.mark.parametrize("change", [{"total_ms": "x"}, {"total_ms": None}, {"ts": None}, {"ts": {}}, {"ts": 10**400}])
def test_a_row_without_an_instant_is_no_record(tmp_path: Path, change: dict[str, object]) -> None:
    notes = Notes(tmp_path, 5)
    notes.records([record(n, T + n) for n in range(3)])
    line = str({**record(9, T), **change}).replace("'", '"').replace("None", "null").replace("False", "false").replace("()", "[]")
    notes.append(f"records/{FLOOR}-5-1.jsonl", line.encode() + b"\n")
    notes.records([record(3, T + 4)])
    reader = fresh(tmp_path)
    assert [name for batch in drained(reader, T + 9) for name in ids(batch)] == ["req-0", "req-1", "req-2", "req-3"]
    assert reader.unread == 1


def test_a_clock_that_was_ahead_holds_nothing_back(tmp_path: Path) -> None:
    notes = Notes(tmp_path, 5)
    notes.records([record(0, T + 10)])
    notes.records([record(1, T + 7200), record(2, T + 7201)])  # written before the clock was set back by two hours
    reader = fresh(tmp_path)
    assert ids(reader.take(T + 10, T + 11.5)) == ["req-0"]
    assert ids(reader.take(T + 12, T + 13.5)) == ["req-1", "req-2"]
    notes.records([record(3, T + 14)], segment=2)
    assert ids(reader.take(T + 15, T + 16.5)) == ["req-3"]


def test_a_clock_that_is_set_back_lets_what_was_held_go(tmp_path: Path) -> None:
    Notes(tmp_path, 5).records([record(0, T + 7200)])
    reader = fresh(tmp_path)
    assert ids(reader.take(T + 7199, T + 7200.5)) == []
    assert ids(reader.take(T + 100, T + 101.5)) == []
    (row,) = reader.take(T + 102, T + 103.5).rows
    assert row["at"] == T + 101.5


def test_after_the_clock_was_set_back_old_segments_do_not_come_again(tmp_path: Path) -> None:
    Notes(tmp_path, 5).records([record(n, T + 3600 * n) for n in range(10)])
    reader = fresh(tmp_path)
    assert len([name for batch in drained(reader, T + 50_000) for name in ids(batch)]) == 10
    again = Reader(tmp_path / "records", reader.places, reader.floor)
    Notes(tmp_path, 5).records([record(50, T + 3600 * 3 + 5)], segment=11)
    for each in (reader, again):
        assert [name for batch in drained(each, T + 3600 * 3 + 60) for name in ids(batch)] == ["req-50"]


def test_places_of_long_ago_are_forgotten_and_segments_stay_done(tmp_path: Path) -> None:
    notes = Notes(tmp_path, 5)
    reader, seen = fresh(tmp_path), list[str]()
    for hour in range(100):
        at = T + 3600 * hour + 5
        notes.records([record(hour, at)], segment=hour)
        seen += [name for batch in drained(reader, at + 10) for name in ids(batch)]
    assert seen == [f"req-{n}" for n in range(100)]
    assert len(reader.places) < 55
    assert drained(Reader(tmp_path / "records", reader.places, reader.floor), at + 20)[0].rows == []


def test_records_before_the_first_instant_are_passed_over(tmp_path: Path) -> None:
    Notes(tmp_path, 5).records([record(n, T + n) for n in range(5)])
    Notes(tmp_path, 5).records([record(9, T - 3600)])
    reader = Reader.anew(tmp_path / "records", T + 3)
    assert [name for batch in drained(reader, T + 9) for name in ids(batch)] == ["req-3", "req-4"]
    assert reader.unread == 0


def test_other_files_are_none_of_ours(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    for name in ("2023.jsonl", "20231114-22.jsonl", "20231114-22-x.jsonl", "20231114-22-1-x.jsonl"):
        (folder / name).write_bytes(b'{"ts": 1.0, "total_ms": 1.0}\n')
    assert fresh(tmp_path).take(T, T).rows == []


def test_no_folder_is_no_records(tmp_path: Path) -> None:
    reader = fresh(tmp_path)
    assert reader.take(T, T).rows == []
    Notes(tmp_path).records([record(0, T)])
    assert ids(reader.take(T + 1, T + 1)) == ["req-0"]


def test_long_texts_make_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 1000)
    monkeypatch.setattr(module, "BATCH_BYTES", 100_000)
    Notes(tmp_path, 5).records([record(n, T + n, text_in="x" * 20_000) for n in range(200)])
    found = drained(fresh(tmp_path), T + 500)
    assert [name for batch in found for name in ids(batch)] == [f"req-{n}" for n in range(200)]
    assert max(len(batch.rows) for batch in found) < 150
