"""Closed segments are turned into Parquet beside the background process, one at a time."""

from __future__ import annotations

import time
from pathlib import Path

from penstock.control.compaction import PAUSE_S, Compaction
from penstock.serving.record_files import read_records
from penstock.serving.records import Record, RecordWriter
from penstock.testing.serving import wait_for


def test_closed_segments_are_compacted_and_nothing_is_started_for_nothing(tmp_path: Path) -> None:
    records = tmp_path / "records"
    compaction = Compaction(records, tmp_path / "log")
    assert compaction.look(0.0) is False
    writer = RecordWriter(records, segment_bytes=1000)
    for number in range(8):
        row = Record(time.time(), f"req-{number}", "m", "1", "r", "/v1/classify", "key-1", 200, 10, 20, 3, 0, 0.1, 1.0, 1.5, 1)
        writer.write([row])
    before = list(read_records(records))
    assert compaction.look(PAUSE_S - 1) is False
    assert compaction.look(PAUSE_S) is True
    wait_for(lambda: not compaction.look(PAUSE_S + 1), 30, "the compaction")
    assert len(list(records.glob("*.parquet"))) > 1
    assert len(list(records.glob("*.jsonl"))) == 1
    assert list(read_records(records)) == before
    assert "segments compacted" in (tmp_path / "log").read_text()


def test_one_that_runs_is_ended(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, segment_bytes=1)
    for number in range(2):
        writer.write([Record(time.time(), f"req-{number}", "m", "1", "r", "/v1/classify", None, 200, 1, 2, 3, 0, 0.1, 1.0, 1.5, 1)])
    compaction = Compaction(tmp_path, tmp_path / "log")
    assert compaction.look(PAUSE_S) is True
    compaction.close()
    assert len(list(read_records(tmp_path))) == 2
