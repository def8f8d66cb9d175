"""The artifact's tables, in batches: bytes depend on the rows alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from penstock.stages.data.rows import BadRow

GROUP_ROWS = 65_536
REMOVED = pa.schema([("id", pa.string()), ("split", pa.string()), ("rule", pa.string()), ("text", pa.string())])
QUARANTINE = pa.schema([("source", pa.string()), ("line", pa.int64()), ("reason", pa.string()), ("raw", pa.string())])


def split_schema(labelled: bool) -> pa.Schema:
    columns = [("id", pa.string()), ("text", pa.string())]
    return pa.schema([*columns, ("label", pa.int32())] if labelled else columns)


class TableWriter:
    """A Parquet file in row groups of GROUP_ROWS, however the rows arrive. A context manager; `rows` counts what was written."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema, self._pending, self._held = schema, list[pa.Table](), 0
        self._file = pq.ParquetWriter(path, schema, compression="zstd", store_schema=False)

    def write(self, frame: pl.DataFrame) -> None:
        if not frame.height:
            return
        self._pending.append(frame.select(self._schema.names).to_arrow().cast(self._schema))
        self._held += frame.height
        self.rows += frame.height
        if self._held >= GROUP_ROWS:
            self._flush(whole=True)

    def _flush(self, whole: bool) -> None:
        table = pa.concat_tables(self._pending).combine_chunks()
        until = table.num_rows - table.num_rows % GROUP_ROWS if whole else table.num_rows
        self._file.write_table(table.slice(0, until), row_group_size=GROUP_ROWS)
        rest = table.slice(until)
        self._pending, self._held = ([rest] if rest.num_rows else []), rest.num_rows

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and self._pending:
            self._flush(whole=False)
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
    with TableWriter(path, QUARANTINE) as writer:
        writer.write(frame)
