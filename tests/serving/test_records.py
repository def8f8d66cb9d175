"""Records: appended, rotated, read back, compacted; a full disk is counted, never raised."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

import penstock.screening
from penstock.serving import records
from penstock.serving.capture import Captured, captured
from penstock.serving.record_files import closed_segments, compact, read_records
from penstock.serving.records import Record, RecordWriter
from penstock.serving.snapshot import Capture


def record(number: int, ts: float | None = None) -> Record:
    at = time.time() if ts is None else ts
    return Record(at, f"req-{number}", "m", "1", "r", "/v1/classify", "key-1", 200, 10, 20, 3, 0, 0.1, 1.0, 1.5, 1)


def test_what_is_added_is_read_back_and_selected_by_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        writer = RecordWriter(tmp_path)
        now = time.time()
        for number in range(100):
            writer.add(record(number, now + number / 1000))
        await writer.close()
        assert (writer.written, writer.dropped) == (100, 0)
        assert [r["id"] for r in read_records(tmp_path)] == [f"req-{n}" for n in range(100)]
        assert [r["id"] for r in read_records(tmp_path, now + 0.0105, now + 0.0125)] == ["req-11", "req-12"]

    asyncio.run(scenario())


def test_segments_rotate_by_size_and_a_torn_line_is_skipped(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, segment_bytes=1000)
    for number in range(10):
        writer.write([record(number)])
    paths = sorted(tmp_path.glob("*.jsonl"))
    assert len(paths) > 2
    assert all(path.stat().st_size <= 1000 for path in paths)
    with paths[0].open("ab") as file:
        file.write(b'{"ts": 12.5, "id": "to')
    assert sorted(r["id"] for r in read_records(tmp_path)) == sorted(f"req-{n}" for n in range(10))


def test_a_number_that_was_had_before_is_not_written_to_again(tmp_path: Path) -> None:
    """A gateway in a container has the same process id after every restart."""
    first = RecordWriter(tmp_path, segment_bytes=1)
    first.write([record(1)])
    first.write([record(2)])
    compact(tmp_path)
    again = RecordWriter(tmp_path)
    again.write([record(3)])
    assert {path.name.split("-")[-1] for path in tmp_path.iterdir()} == {"1.parquet", "2.jsonl", "3.jsonl"}
    assert [path.name.split("-")[-1] for path in closed_segments(tmp_path)] == ["2.jsonl"]


def test_closed_segments_become_parquet_once_and_the_open_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    writer = RecordWriter(folder, segment_bytes=1000)
    for number in range(12):
        writer.write([record(number)])
    before = list(read_records(folder))
    closed = closed_segments(folder)
    written = compact(folder)
    assert len(written) == len(closed) > 0
    assert [path.exists() for path in closed] == [False] * len(closed)
    assert len(list(folder.glob("*.jsonl"))) == 1
    assert list(read_records(folder)) == before
    assert compact(folder) == []
    assert compact(folder, now=time.time() + 7200) != []
    assert list(read_records(folder)) == before


def test_every_field_comes_back_from_lines_and_from_parquet(tmp_path: Path) -> None:
    full = Record(
        *(1_700_000_000.5, "req-1", "m", "1", "r", "/v1/chat/completions", "key-1", 200, 10, 20, 3, 4, 0.1, 1.0, 2.0, 1),
        error="timeout",
        trace="ab" * 16,
        span="cd" * 8,
        parent="ef" * 8,
        session="5e",
        adapter="lora",
        experiment="exp",
        shadow_of="req-0",
        fallback_for="other",
        hedged=True,
        stream=True,
        flags=("input:injection:block", "output:personal:mask"),
        guard_ms=0.25,
        cost_usd=0.000125,
        energy_wh=0.0021,
        text_in="user: söme\ntext",
        text_out="",
        label="card_arrival",
        confidence=0.97,
        metadata={"channel": "wéb", "amount": 12.5},
        training=False,
        failed_on=("3",),
    )
    bare = record(2, 1_700_000_001.0)
    writer = RecordWriter(tmp_path)
    writer.write([full, bare])
    wanted = [{**each._asdict(), "flags": list(each.flags), "failed_on": list(each.failed_on)} for each in (full, bare)]
    assert list(read_records(tmp_path)) == wanted
    assert {name for name, value in wanted[0].items() if value in (None, False)} == {"training"}  # a new field must be put in here
    compact(tmp_path, now=time.time() + 7200)
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]
    found = list(read_records(tmp_path))
    assert found == wanted
    assert [{name: type(value) for name, value in row.items()} for row in found] == [
        {name: type(value) for name, value in row.items()} for row in wanted
    ]


def test_a_segment_that_is_there_twice_is_read_once(tmp_path: Path) -> None:
    """A crash between the Parquet file's name and the segment's removal."""
    writer = RecordWriter(tmp_path)
    writer.write([record(1), record(2)])
    (path,) = tmp_path.iterdir()
    lines = path.read_bytes()
    compact(tmp_path, now=time.time() + 7200)
    path.write_bytes(lines)
    assert len(list(read_records(tmp_path))) == 2
    compact(tmp_path, now=time.time() + 7200)
    assert len(list(read_records(tmp_path))) == 2
    assert not path.exists()


def test_a_segment_of_torn_lines_only_goes_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "20200101-00-1-1.jsonl").write_bytes(b'{"ts": 1')
    assert compact(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_counted_and_writing_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = RecordWriter(tmp_path)
    writer.write([record(1)])
    real = os.write

    def full(handle: int, data: bytes) -> int:
        real(handle, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "write", full)
    writer.write([record(2), record(3)])
    monkeypatch.setattr(records.os, "write", real)
    writer.write([record(4)])
    assert (writer.written, writer.dropped) == (2, 2)
    assert [r["id"] for r in read_records(tmp_path)] == ["req-1", "req-4"]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_buffer_that_nobody_empties_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_BUFFERED", 5)

    async def scenario() -> None:
        writer = RecordWriter(tmp_path)
        for number in range(8):
            writer.add(record(number))
        await writer.close()
        assert (writer.written, writer.dropped) == (5, 3)

    asyncio.run(scenario())


def test_texts_are_masked_before_they_reach_the_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        writer = RecordWriter(tmp_path)
        texts = captured(Capture(), "req-1", b'{"messages": [{"role": "user", "content": "Write to jane.doe@example.com"}]}')
        assert texts is not None
        texts.add(b'data: {"choices": [{"index": 0, "delta": {"content": "I wrote to jane.doe"}}]}\n\n')
        texts.add(b'data: {"choices": [{"index": 0, "delta": {"content": "@example.com"}}]}\n\ndata: [DONE]\n\n')
        writer.add(record(1), texts)
        writer.add(record(2))
        plain = captured(Capture(mask=False), "req-3", b'{"prompt": "jane.doe@example.com"}')
        writer.add(record(3), plain)
        await writer.close()

    asyncio.run(scenario())
    first, second, third = read_records(tmp_path)
    assert (first["text_in"], first["text_out"]) == ("user: Write to [EMAIL]", "I wrote to [EMAIL]")
    assert (second["text_in"], second["text_out"]) == (None, None)
    assert (third["text_in"], third["text_out"]) == ("jane.doe@example.com", None)


def test_a_text_that_cannot_be_masked_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> str:
        raise RuntimeError(text)

    monkeypatch.setattr(penstock.screening, "mask", broken)
    writer = RecordWriter(tmp_path)
    writer.write([record(1)], {0: Captured(b'{"prompt": "a secret"}')})
    (found,) = read_records(tmp_path)
    assert found["text_in"] is None
    assert writer.texts_dropped == 1
    assert b"secret" not in next(tmp_path.iterdir()).read_bytes()


def test_texts_that_wait_are_bounded_and_the_records_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_CAPTURED", 100)

    async def scenario() -> None:
        writer = RecordWriter(tmp_path)
        for number in range(4):
            writer.add(record(number), Captured(b'{"prompt": "%b"}' % (b"x" * 30), masked=False))
        await writer.close()
        assert (writer.written, writer.texts_dropped) == (4, 2)

    asyncio.run(scenario())
    assert [row["text_in"] is None for row in read_records(tmp_path)] == [False, False, True, True]


def test_energy_is_asked_for_requests_that_reached_a_replica(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path)
    writer.energy = lambda replica, seconds: seconds * {"r": 10.0}[replica]
    writer.write([record(1), record(2)._replace(replica=None)])
    assert [row["energy_wh"] for row in read_records(tmp_path)] == [pytest.approx(0.014), 0.0]
