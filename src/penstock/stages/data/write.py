"""The artifact's tables, in batches: bytes depend on the rows alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from penstock.stages.data.rows import BadRow

GROUP_ROWS, GROUP_BYTES = 65_536, 16 << 20
REMOVED = pa.schema([("id", pa.string()), ("split", pa.string()), ("rule", pa.string()), ("text", pa.string())])
QUARANTINE = pa.schema([("source", pa.string()), ("line", pa.int64()), ("reason", pa.string()), ("raw", pa.string())])


def split_schema(labelled: bool, named: bool = False) -> pa.Schema:
    """`named`: rows say which source they are from."""
    columns = [("id", pa.string()), ("text", pa.string()), *([("label", pa.int32())] if labelled else [])]
    return pa.schema([*columns, ("source", pa.string())] if named else columns)


class TableWriter:
    """A Parquet file whose row groups depend on the rows alone, not on how they arrive: a group ends with the row that brings it
    to GROUP_ROWS rows or GROUP_BYTES of `measure` (the column of long texts). A context manager; `rows` counts what was written."""

    def __init__(self, path: Path, schema: pa.Schema, measure: str = "text") -> None:
        self.rows = 0
        self._schema, self._measure = schema, measure
        self._pending, self._held_rows, self._held_bytes = list[pa.Table](), 0, 0
        self._file = pq.ParquetWriter(path, schema, compression="zstd", store_schema=False)

    def write(self, frame: pl.DataFrame) -> None:
        if not frame.height:
            return
        self.rows += frame.height
        table = frame.select(self._schema.names).to_arrow().cast(self._schema)
        start = 0
        for row, size in enumerate(frame[self._measure].str.len_bytes().fill_null(0).to_list(), 1):
            self._held_rows += 1
            self._held_bytes += size
            if self._held_rows >= GROUP_ROWS or self._held_bytes >= GROUP_BYTES:
                self._pending.append(table.slice(start, row - start))
                self._flush()
                start = row
        if start < frame.height:
            self._pending.append(table.slice(start))

    def _flush(self) -> None:
        table = pa.concat_tables(self._pending).combine_chunks()
        self._file.write_table(table, row_group_size=table.num_rows)
        self._pending, self._held_rows, self._held_bytes = [], 0, 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and self._pending:
            self._flush()
        self._file.close()


def write_quarantine(path: Path, bad: Iterable[BadRow]) -> None:
    rows = list(bad)
    frame = pl.DataFrame(
        {
            "source": [row.source for row in rows],
            "line": [row.line for row in rows],
            "reason": [row.reason for row in rows],
            "raw": [row.raw for row in rows],
        },
        schema={"source": pl.String, "line": pl.Int64, "reason": pl.String, "raw": pl.String},
    )
    with TableWriter(path, QUARANTINE, measure="raw") as writer:
        writer.write(frame)
