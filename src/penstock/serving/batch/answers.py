"""Answers that come back in any order, held on disk by the shard of their row until the shard is whole."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import orjson

HELD = 4096  # in memory, before they are written

Told = tuple[int, int, str]  # row, status, body


class Answers:
    """`shards`: (first row, rows) in order. A row that comes twice counts once: the later one."""

    def __init__(self, folder: Path, shards: Sequence[tuple[int, int]]) -> None:
        self._folder, self._shards = folder, shards
        self._firsts = [first for first, _ in shards]
        self._rows = [set[int]() for _ in shards]
        self._held: dict[int, list[Told]] = defaultdict(list)
        self._count = 0
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.jsonl"):
            path.unlink()  # of a process that was killed: files of answers are read again

    def add(self, told: Iterable[Told]) -> None:
        """Answers to rows that nobody asked for are dropped."""
        for one in told:
            at = bisect.bisect_right(self._firsts, one[0]) - 1
            if at < 0 or one[0] >= sum(self._shards[at]):
                continue
            self._rows[at].add(one[0])
            self._held[at].append(one)
            self._count += 1
            if self._count >= HELD:
                self._spill()

    def rows(self, at: int) -> set[int]:
        """Those of a shard that were answered."""
        return self._rows[at]

    def take(self, at: int) -> dict[int, Told]:
        """The answers of a shard, by row; they are then forgotten."""
        found = {one[0]: one for one in self._read(at)} | {one[0]: one for one in self._held.pop(at, ())}
        self._path(at).unlink(missing_ok=True)
        self._rows[at] = set()
        return found

    def _spill(self) -> None:
        for at, rows in self._held.items():
            with self._path(at).open("ab") as file:
                file.writelines(orjson.dumps(one) + b"\n" for one in rows)
        self._held.clear()
        self._count = 0

    def _read(self, at: int) -> Iterator[Told]:
        if self._path(at).exists():
            with self._path(at).open("rb") as file:
                for line in file:
                    row, status, body = orjson.loads(line)
                    yield row, status, body

    def _path(self, at: int) -> Path:
        return self._folder / f"{self._firsts[at]:012d}.jsonl"
