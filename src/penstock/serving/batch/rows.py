"""Rows of a JSONL, CSV, TSV or Parquet file, whole and in order, one at a time: memory does not grow with the file.

Every column is kept, so that input and answer can be joined. A row that cannot be read comes as a fault with its reason, in its place.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from penstock.core.errors import BadInput, SourceUnreadable

LINE_LIMIT = 16 << 20  # bytes; a longer line is damage
BATCH_ROWS = 1024  # of Parquet, in memory at once
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}


@dataclass(frozen=True, slots=True)
class Row:
    """`number` counts from 0 in the order of the file; `fault` says why it cannot be used ("" when it can)."""

    number: int
    values: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""


def format_of(path: Path) -> str:
    """By suffix. Raises BadInput with the formats that there are."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise BadInput(f"{path.name} is in no format that is read here (known endings: {', '.join(FORMATS)})") from None


def columns_of(path: Path) -> list[str]:
    """Names of the columns; of JSON Lines those of the first good row. Raises BadInput or SourceUnreadable."""
    kind = format_of(path)
    if kind == "parquet":
        return list(_parquet(path).schema_arrow.names)
    first = next((row for row in read_rows(path) if not row.fault), None)
    return list(first.values) if first else []


def read_rows(path: Path, skip: int = 0) -> Iterator[Row]:
    """All rows but the first `skip`. Raises BadInput (unknown format) and SourceUnreadable (no such file, damaged as a whole)."""
    kind = format_of(path)
    if not path.is_file():
        raise SourceUnreadable(f"there is no file {path}", remedy="Give the path of a JSONL, CSV, TSV or Parquet file.")
    rows = _parquet_rows(path, skip) if kind == "parquet" else _json_rows(path) if kind == "jsonl" else _csv_rows(path, kind)
    for row in rows:
        if row.number >= skip:
            yield row


def _json_rows(path: Path) -> Iterator[Row]:
    number = 0
    with path.open("rb") as lines:
        while line := lines.readline(LINE_LIMIT):
            if not line.strip():
                continue
            if len(line) == LINE_LIMIT and not line.endswith(b"\n"):
                raise SourceUnreadable(f"{path.name}: row {number} is longer than {LINE_LIMIT >> 20} MiB")
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield Row(number, fault=f"not JSON: {error}")
            else:
                yield Row(number, value) if isinstance(value, dict) else Row(number, fault=f"not an object but {type(value).__name__}")
            number += 1


def _csv_rows(path: Path, kind: str) -> Iterator[Row]:
    csv.field_size_limit(LINE_LIMIT)
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter="\t" if kind == "tsv" else ",")
            header = next((row for row in reader if row), None)
            if header is None:
                raise SourceUnreadable(f"{path.name} has no header and no rows")
            if len(set(header)) < len(header):
                raise BadInput(f"{path.name} has two columns of one name: {', '.join(header)}", remedy="Rename one of them.")
            for number, cells in enumerate(row for row in reader if row):
                if len(cells) == len(header):
                    yield Row(number, dict(zip(header, cells, strict=True)))
                else:
                    yield Row(number, fault=f"{len(cells)} fields where the header has {len(header)}")
    except UnicodeDecodeError as error:
        raise SourceUnreadable(f"{path.name} is not UTF-8 ({error.reason})", remedy="Convert it: `iconv -t utf-8`.") from error
    except csv.Error as error:
        raise SourceUnreadable(f"{path.name} cannot be read as {kind}: {error}") from error


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceUnreadable(f"{path.name} is no complete Parquet file: {error}", remedy="Copy or export the file again.") from error


def _parquet_rows(path: Path, skip: int) -> Iterator[Row]:
    table, number = _parquet(path), 0
    for group in range(table.num_row_groups):
        rows = table.metadata.row_group(group).num_rows
        if number + rows <= skip:
            number += rows  # its bytes need not be read
            continue
        for batch in table.iter_batches(BATCH_ROWS, row_groups=[group]):
            for values in batch.to_pylist():
                yield Row(number, values)
                number += 1
