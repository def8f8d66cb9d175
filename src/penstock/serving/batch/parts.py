"""Finished parts of a batch on disk: a file each, complete once it has its name, so that a killed batch goes on after the last of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from penstock.core.files import write_atomic
from penstock.serving.batch.outcomes import Outcome

_NAME = re.compile(r"part-(\d{12})-(\d+)-(\d+)\.jsonl")


@dataclass(frozen=True, slots=True)
class Part:
    """Rows `first` to `first + rows`; `failed` of them were not answered."""

    path: Path
    first: int
    rows: int
    failed: int


@dataclass(frozen=True, slots=True)
class Parts:
    folder: Path

    def all(self) -> list[Part]:
        """In order of their rows, gaps and all: they may have been finished in any order."""
        found = []
        for path in sorted(self.folder.glob("part-*.jsonl")):
            if match := _NAME.fullmatch(path.name):
                found.append(Part(path, *(int(digits) for digits in match.groups())))
        return found

    def finished(self) -> list[Part]:
        """In order, without a gap from row 0."""
        whole, end = [], 0
        for part in self.all():
            if part.first != end:
                break
            whole.append(part)
            end += part.rows
        return whole

    def missing(self, total: int, rows: int) -> list[tuple[int, int]]:
        """(first, count) of what no finished part holds, in pieces of at most `rows`."""
        found, end = [], 0
        for first, count in [*((part.first, part.rows) for part in self.all()), (total, 0)]:
            found += [(at, min(rows, first - at)) for at in range(end, first, rows)]
            end = max(end, first + count)
        return found

    def write(self, outcomes: Sequence[Outcome]) -> Part:
        first, failed = outcomes[0].row.number, sum(bool(outcome.error) for outcome in outcomes)
        path = self.folder / f"part-{first:012d}-{len(outcomes)}-{failed}.jsonl"
        lines = [orjson.dumps({"row": o.row.number, "line": o.line, "error": o.error}, default=str) for o in outcomes]
        write_atomic(path, b"\n".join(lines) + b"\n")
        return Part(path, first, len(outcomes), failed)

    def lines(self, whole: bool = True) -> Iterator[dict[str, Any]]:
        """Every outcome in order: `row`, `line`, `error`. `whole` False: those after a gap, too."""
        for part in self.finished() if whole else self.all():
            with part.path.open("rb") as file:
                for line in file:
                    yield orjson.loads(line)
