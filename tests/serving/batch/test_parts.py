"""Parts on disk: what counts as finished after any accident."""

from __future__ import annotations

from pathlib import Path

from penstock.serving.batch.asking import Outcome
from penstock.serving.batch.parts import Parts
from penstock.serving.batch.rows import Row


def outcomes(first: int, count: int, bad: int = -1) -> list[Outcome]:
    return [Outcome(Row(n), {"n": n}, "broken" if n == bad else "") for n in range(first, first + count)]


def test_parts_come_back_in_order_and_end_at_a_gap(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    for first in (0, 10, 30):
        parts.write(outcomes(first, 10, bad=13))
    (tmp_path / ".part-000000000020-10-0.jsonl.abc.part").write_text("half a part of a killed writer")
    assert [(part.first, part.rows, part.failed) for part in parts.finished()] == [(0, 10, 0), (10, 10, 1)]
    assert [line["row"] for line in parts.lines()] == list(range(20))
    assert [line["row"] for line in parts.lines() if line["error"]] == [13]
    parts.write(outcomes(20, 10))
    assert sum(part.rows for part in parts.finished()) == 40
