"""One segment of records read on from where a reader stopped: its lines, or the Parquet file that they became meanwhile.

A place counts records, so it holds for both. Half a line at the end waits for its other half; a line that is no record is passed over, as
compaction passes over it. Which segments there are: record_files.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson


@dataclass(frozen=True, slots=True)
class Place:
    """Records that were taken, and how many bytes of lines they are; None: to be found by counting, or they were no lines any more."""

    rows: int = 0
    offset: int | None = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """What lay after `start`. `ends`: of lines, where in the file each record ends; None: it is a table by now, which does not grow.

    `end`: where the last line ends, record or not. `unread`: lines that are no records. `full`: there may be more, the limit was reached.
    """

    start: Place
    rows: list[dict[str, Any]]
    ends: list[int] | None
    end: int = 0
    unread: int = 0
    full: bool = False

    def after(self, count: int) -> Place:
        """The place behind the first `count` records of it."""
        if self.ends is None:
            return Place(self.start.rows + count, None)
        if count == len(self.rows):
            return Place(self.start.rows + count, self.end)
        return Place(self.start.rows + count, self.ends[count - 1]) if count else self.start

    def then(self, more: Piece, skip: int) -> Piece:
        """This one without its first `skip` records, with those of the piece behind it."""
        ends = None if self.ends is None or more.ends is None else self.ends[skip:] + more.ends
        return Piece(self.after(skip), self.rows[skip:] + more.rows, ends, more.end, more.unread, more.full)

    def lies(self, place: int) -> tuple[int, int | None]:
        """Where its record at `place` lies, for `pick`."""
        before = self.start.offset if not place or self.ends is None else self.ends[place - 1]
        return self.start.rows + place, None if self.ends is None else before


def read_on(path: Path, start: Place, limit: int, most_bytes: int = sys.maxsize) -> Piece:
    """At most `limit` records, of lines about `most_bytes`; `path` as record_files.segments named it. Nothing of one that is gone."""
    if path.suffix == ".jsonl":
        try:
            return _lines(path, start, limit, most_bytes)
        except FileNotFoundError:  # compacted since it was listed
            path = path.with_suffix(".parquet")
    try:
        rows = read_table(path, start.rows, limit)
    except FileNotFoundError:
        rows = []
    return Piece(start, rows, None, full=len(rows) >= limit)


def parsed(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None when it is none, such as one that a crash cut short."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) and "ts" in value else None


def records_of(table: Any) -> list[dict[str, Any]]:
    """Of an Arrow table or batch; `metadata` is JSON there, as its values have several types."""
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        if (text := row.get("metadata")) is not None:
            row["metadata"] = orjson.loads(text)
    return rows


def read_table(path: Path, skip: int, limit: int) -> list[dict[str, Any]]:
    """Records of a Parquet file after the first `skip`, at most `limit`. Row groups before that are not read."""
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = []
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if skip < rows and len(found) < limit:
                found += records_of(file.read_row_group(group).slice(skip, limit - len(found)))
            skip = max(0, skip - rows)
    return found


def _lines(path: Path, start: Place, limit: int, most_bytes: int) -> Piece:
    rows: list[dict[str, Any]] = []
    ends: list[int] = []
    begin = start.offset or 0
    skip, unread, full, end = start.rows if start.offset is None else 0, 0, False, begin
    with path.open("rb") as file:
        file.seek(begin)
        for line in file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            record = parsed(line)
            if record is None:
                unread += 1
            elif skip:
                skip -= 1
            else:
                rows.append(record)
                ends.append(end)
                full = len(rows) >= limit or end - begin >= most_bytes
                if full:
                    break
    return Piece(start, rows, ends, end, unread, full)


def pick(folder: Path, segment: str, places: Sequence[tuple[int, int | None]]) -> Iterator[dict[str, Any] | None]:
    """The records at these places of a segment, (number, byte of its line or None) each; None for what is not there any more."""
    try:
        with (folder / f"{segment}.jsonl").open("rb") as file:
            for _, byte in places:
                yield None if byte is None else _at(file, byte)
            return
    except FileNotFoundError:
        pass
    try:
        found = _table_rows(folder / f"{segment}.parquet", {number for number, _ in places})
    except FileNotFoundError:
        found = {}
    for number, _ in places:
        yield found.get(number)


def _at(file: BinaryIO, byte: int) -> dict[str, Any] | None:
    file.seek(byte)
    return parsed(file.readline())


def _table_rows(path: Path, numbers: set[int]) -> dict[int, dict[str, Any]]:
    """By number. Each row group is read once at most."""
    import pyarrow.parquet as pq

    found: dict[int, dict[str, Any]] = {}
    with pq.ParquetFile(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            last = first + file.metadata.row_group(group).num_rows
            wanted = sorted(number for number in numbers if first <= number < last)
            if wanted:
                rows = records_of(file.read_row_group(group).take([number - first for number in wanted]))
                found.update(zip(wanted, rows, strict=True))
            first = last
    return found
