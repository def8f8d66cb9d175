"""Feedback: what is accepted, what reaches the disk, and what a reader makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serving import feedback as module
from penstock.serving.errors import RequestRefused
from penstock.serving.feedback import Feedback, FeedbackWriter, parse_feedback, read_feedback, speaker
from penstock.serving.joined import as_row, joined


def said(value: dict[str, Any], key: str = "key-1", now: float = 1_000.0) -> Feedback:
    return parse_feedback(value, key, now)


def test_a_thumb_is_a_score_and_the_same_words_have_one_name() -> None:
    up = said({"id": "req-1", "thumbs": "up", "label": "cards", "correction": "Yes.", "user": "u"})
    assert (up.score, up.label, up.correction, up.key) == (1.0, "cards", "Yes.", "key-1")
    assert up.user == speaker("key-1", "u") != speaker("key-2", "u")
    assert said({"id": "req-1", "thumbs": "down"}).score == -1.0
    assert said({"id": "req-1", "score": 0}).score == 0.0
    again = said({"id": "req-1", "thumbs": "up", "label": "cards", "correction": "Yes.", "user": "u"}, now=2_000.0)
    assert again.feedback == up.feedback
    others = [said({"id": "req-1", "thumbs": "up"}), said({"id": "req-2", "thumbs": "up"}), said({"id": "req-1", "thumbs": "up"}, "key-2")]
    assert len({up.feedback, *(o.feedback for o in others)}) == 4


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({}, "id"),
        ({"id": 7, "score": 1}, "id"),
        ({"id": "../../etc/passwd", "score": 1}, "id"),
        ({"id": "r"}, None),
        ({"id": "r", "score": 1.01}, "score"),
        ({"id": "r", "score": True}, "score"),
        ({"id": "r", "thumbs": "sideways"}, "thumbs"),
        ({"id": "r", "thumbs": ["up"]}, "thumbs"),
        ({"id": "r", "thumbs": "up", "score": 1}, "thumbs"),
        ({"id": "r", "label": ""}, "label"),
        ({"id": "r", "comment": "x" * 8193}, "comment"),
        ({"id": "r", "correction": {"text": "x"}}, "correction"),
        ({"id": "r", "scor": 1}, "scor"),
    ],
)
def test_what_is_wrong_is_named(value: dict[str, Any], param: str | None) -> None:
    with pytest.raises(RequestRefused) as refused:
        said(value)
    assert (refused.value.status, refused.value.param) == (400, param)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.recursive(LEAVES, lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_any_value_is_taken_or_refused(value: Any) -> None:
    for name in ("id", "score", "thumbs", "label", "correction", "comment", "user", "else"):
        with contextlib.suppress(RequestRefused):
            assert -1 <= (said({"id": "r", "score": 0.5, name: value}).score or 0) <= 1


def test_lines_are_written_once_masked_and_read_by_time(tmp_path: Path) -> None:
    async def scenario() -> FeedbackWriter:
        writer = FeedbackWriter(tmp_path, mask=lambda text: text.replace("a@b.org", "<EMAIL>"))
        one = said({"id": "r1", "score": 1, "comment": "ask a@b.org"}, now=10_000.0)
        await asyncio.gather(writer.add(one), writer.add(said({"id": "r2", "thumbs": "down"}, now=20_000.0)))
        await writer.add(one)
        return writer

    writer = asyncio.run(scenario())
    assert (writer.written, writer.refused) == (2, 0)
    with next(tmp_path.glob("*.jsonl")).open("ab") as file:
        file.write(b'{"ts": 1, "id": "half')
    assert [(f.id, f.score, f.comment) for f in read_feedback(tmp_path)] == [("r1", 1.0, "ask <EMAIL>"), ("r2", -1.0, None)]
    assert [f.id for f in read_feedback(tmp_path, since=15_000.0)] == ["r2"]
    assert [f.id for f in read_feedback(tmp_path, until=15_000.0)] == ["r1"]
    assert list(read_feedback(tmp_path / "none")) == []


def test_what_another_process_wrote_too_is_read_once(tmp_path: Path) -> None:
    one = said({"id": "r1", "score": 1}, now=10_000.0)
    FeedbackWriter(tmp_path).write(one)
    [path] = tmp_path.glob("*.jsonl")
    (tmp_path / "19700101-02-999999.jsonl").write_bytes(path.read_bytes())
    assert list(read_feedback(tmp_path)) == [one]


def test_a_full_hour_and_a_broken_disk_are_told_and_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(writer: FeedbackWriter, number: int) -> RequestRefused:
        with pytest.raises(RequestRefused) as caught:
            await writer.add(said({"id": f"r{number}", "score": 1}))
        return caught.value

    monkeypatch.setattr(module, "SEGMENT_BYTES", 200)
    full = FeedbackWriter(tmp_path / "a")
    asyncio.run(full.add(said({"id": "r1", "score": 1})))
    assert asyncio.run(refused(full, 2)).status == 503
    assert [f.id for f in read_feedback(tmp_path / "a")] == ["r1"]
    assert (full.written, full.refused) == (1, 1)
    (tmp_path / "b").write_text("a file where the folder should be")
    told = asyncio.run(refused(FeedbackWriter(tmp_path / "b"), 1))
    assert (told.status, told.code, b"retry-after" in told.headers) == (503, "feedback_unavailable", True)


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys, pathlib, itertools\n"
        "from penstock.serving.feedback import FeedbackWriter, parse_feedback\n"
        "async def main():\n"
        "    writer = FeedbackWriter(pathlib.Path(sys.argv[1]))\n"
        "    for n in itertools.count():\n"
        "        await writer.add(parse_feedback({'id': f'r{n}', 'score': 1}, 'k', 1000.0))\n"
        "        print(n, flush=True)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = ""
        end = time.monotonic() + 20
        while time.monotonic() < end and int(last or 0) < 50:
            last = process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().splitlines()
    acknowledged = int(rest[-1] if rest else last)
    assert [f.id for f in read_feedback(tmp_path)][: acknowledged + 1] == [f"r{n}" for n in range(acknowledged + 1)]


def test_rows_join_what_each_speaker_said_last_with_the_record_of_the_same_key() -> None:
    records = [
        {"id": "r1", "key": "key-1", "version": "2"},
        {"id": "r1", "key": "key-1", "version": "3", "shadow_of": "r1"},
        {"id": "r2", "key": "key-1", "version": "2"},
        {"id": "r3", "key": "key-1", "version": "2"},
    ]
    feedback = [
        said({"id": "r1", "score": -1, "user": "ann"}, now=1),
        said({"id": "r1", "score": 0.5, "user": "ann", "label": "cards"}, now=2),
        said({"id": "r1", "thumbs": "up", "user": "bob"}, now=3),
        said({"id": "r2", "thumbs": "down"}, key="key-2"),
        said({"id": "r9", "thumbs": "down"}),
        said({"id": "r3", "correction": "No."}),
    ]
    rows = list(joined(records, feedback))
    assert [(r.record["id"], r.score, r.label, r.correction) for r in rows] == [("r1", 0.75, "cards", None), ("r3", None, None, "No.")]
    assert rows[0].record["version"] == "2"
    assert len(as_row(rows[0])["feedback"]) == 3
    assert [r.record["id"] for r in joined(records, feedback, any_key=True)] == ["r1", "r2", "r3"]
