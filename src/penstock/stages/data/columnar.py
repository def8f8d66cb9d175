"""Parquet, read by row batches; integers, booleans and dictionaries are accepted as labels, only strings as text."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from penstock.core.errors import BadInput, SourceUnreadable
from penstock.stages.data.delimited import choose_columns
from penstock.stages.data.rows import BATCH_ROWS, Batch, Collector, Wanted
from penstock.stages.data.survey import Readable


def read_parquet(file: Readable, wanted: Wanted) -> Iterator[Batch]:
    """Raises SourceUnreadable for a cut-off or damaged file. `line` in the quarantine is the 1-based row number."""
    try:
        table = pq.ParquetFile(file.path)
        columns = choose_columns(file.name, table.schema_arrow.names, wanted)
        _check_types(file, table.schema_arrow, wanted)
        first = 1
        for part in table.iter_batches(BATCH_ROWS, columns=columns):
            rows = pl.DataFrame(pa.Table.from_batches([part.cast(_as_strings(part.schema))])).select(columns)
            yield _sorted_out(rows, wanted, first)
            first += rows.height
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceUnreadable(f"{file.name} is no complete Parquet file: {error}", remedy="Copy or export the file again.") from error


def _check_types(file: Readable, schema: pa.Schema, wanted: Wanted) -> None:
    kind = _value_type(schema.field(wanted.text).type)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise BadInput(f"{file.name}: column {wanted.text!r} holds {kind}, not text", remedy="Name a column of strings in `text:`.")
    if wanted.label is not None:
        kind = _value_type(schema.field(wanted.label).type)
        if not (
            pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind)
            or pa.types.is_integer(kind)
            or pa.types.is_boolean(kind)
        ):
            raise BadInput(f"{file.name}: column {wanted.label!r} holds {kind}; a label is a string, an integer or a boolean")


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _as_strings(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(name, pa.large_string()) for name in schema.names])


def _sorted_out(rows: pl.DataFrame, wanted: Wanted, first: int) -> Batch:
    gathered = Collector(wanted)
    texts = rows[wanted.text].to_list()
    labels = rows[wanted.label].to_list() if wanted.label is not None else [None] * len(texts)
    for number, (text, label) in enumerate(zip(texts, labels, strict=True), first):
        gathered.offer(number, text, label, f"{text}, {label}" if wanted.label is not None else str(text))
    return gathered.take()
