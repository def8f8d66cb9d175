"""Records: appended, rotated, read back, compacted; a full disk is counted, never raised."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from penstock.serving import records
from penstock.serving.records import Record, RecordWriter, closed_segments, compact, read_records


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


def test_closed_segments_become_parquet_once_and_the_open_one_stays(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    folder, into = tmp_path / "records", tmp_path / "parquet"
    writer = RecordWriter(folder, segment_bytes=1000)
    for number in range(12):
        writer.write([record(number)])
    closed = closed_segments(folder)
    written = compact(folder, into)
    assert len(written) == len(closed) > 0
    left = [r["id"] for r in read_records(folder)]
    moved = [i for path in written for i in pq.read_table(path).column("id").to_pylist()]
    assert left
    assert sorted(left + moved) == sorted(f"req-{n}" for n in range(12))
    assert compact(folder, into) == []
    assert compact(folder, into, now=time.time() + 7200) != []


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
