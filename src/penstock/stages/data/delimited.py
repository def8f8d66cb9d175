"""CSV and TSV (RFC 4180): Arrow's reader for clean files, Python's for files with rows that must be placed and explained.

Both give the same rows for a clean file (property-tested). The fast one stops at the first oddity with NeedsCare.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Iterator

import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv

from penstock.core.errors import BadInput, ColumnMissing, SourceUnreadable
from penstock.stages.data.rows import FRAME, LINE_LIMIT, Batch, Collector, NeedsCare, Wanted, clip
from penstock.stages.data.survey import Readable

BLOCK = 8 << 20


def choose_columns(name: str, header: list[str], wanted: Wanted) -> list[str]:
    """The wanted columns. Raises ColumnMissing with all columns and the nearest; BadInput when a wanted name stands twice."""
    columns = [wanted.text] + ([wanted.label] if wanted.label is not None else [])
    for column in columns:
        if header.count(column) > 1:
            raise BadInput(f"{name} has {header.count(column)} columns called {column!r}", remedy="Rename one of them in the source.")
        if column not in header:
            near = difflib.get_close_matches(column, header, 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ColumnMissing(f"{name} has no column {column!r}{hint} (it has: {', '.join(map(repr, header))})")
    return columns


def read_delimited(file: Readable, wanted: Wanted, careful: bool) -> Iterator[Batch]:
    mark = "\t" if file.format == "tsv" else _mark(file)
    header = _header(file, mark)
    columns = choose_columns(file.name, header, wanted)
    if careful:
        yield from _careful(file, wanted, header, mark)
    elif not (file.even_quotes and file.clean):
        raise NeedsCare
    else:
        yield from _fast(file, header, columns, mark)


def _mark(file: Readable) -> str:
    """A comma; a semicolon where the header has that alone, as spreadsheets write it in much of Europe."""
    with file.path.open("rb") as lines:
        head = lines.readline(LINE_LIMIT)
    return ";" if b";" in head and b"," not in head else ","


def _header(file: Readable, mark: str) -> list[str]:
    with file.path.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        try:
            header = next((row for row in csv.reader(lines, delimiter=mark) if row), None)
        except csv.Error as error:
            raise SourceUnreadable(f"{file.name}: its header cannot be read ({error})") from error
    if header is None:
        raise SourceUnreadable(f"{file.name} has no header and no rows")
    return header


def _fast(file: Readable, header: list[str], columns: list[str], mark: str) -> Iterator[Batch]:
    names = [f"c{i}" for i in range(len(header))]
    picked = [names[header.index(column)] for column in columns]
    try:
        stream = arrow_csv.open_csv(
            pa.OSFile(str(file.path)),  # a path would be unpacked by its suffix
            arrow_csv.ReadOptions(column_names=names, block_size=BLOCK),
            arrow_csv.ParseOptions(delimiter=mark, newlines_in_values=True),
            arrow_csv.ConvertOptions(include_columns=picked, column_types=dict.fromkeys(names, pa.string())),
        )
        first = True
        for block in stream:
            rows = pl.DataFrame(pa.Table.from_batches([block]))
            rows = rows.slice(1) if first else rows
            first = False
            yield Batch(_checked(rows, picked))
    except pa.ArrowInvalid as error:
        raise NeedsCare from error


def _checked(rows: pl.DataFrame, picked: list[str]) -> pl.DataFrame:
    bad = pl.any_horizontal(
        *[
            pl.col(name).is_null() | (pl.col(name).str.strip_chars() == "") | pl.col(name).str.contains("\0", literal=True)
            for name in picked
        ]
    )
    if rows.select(bad.any()).item():
        raise NeedsCare
    label = pl.col(picked[1]).str.strip_chars() if len(picked) > 1 else pl.lit(None, dtype=pl.String)
    return rows.select(pl.col(picked[0]).alias("text"), label.alias("label")).cast(FRAME)  # type: ignore[arg-type]


def _careful(file: Readable, wanted: Wanted, header: list[str], mark: str) -> Iterator[Batch]:
    text_at = header.index(wanted.text)
    label_at = header.index(wanted.label) if wanted.label is not None else None
    gathered = Collector(wanted)
    for line, row, raw in _records(file, mark):
        if len(row) != len(header):
            gathered.reject(line, f"{len(row)} fields where the header has {len(header)}", raw)
        else:
            gathered.offer(line, row[text_at], None if label_at is None else row[label_at], raw)
        if gathered.full:
            yield gathered.take()
    yield gathered.take()


def _records(file: Readable, mark: str) -> Iterator[tuple[int, list[str], str]]:
    """Rows after the header: the line each starts on, its fields, its raw text. Raises when the last quote is never closed."""
    csv.field_size_limit(LINE_LIMIT)
    taken: list[str] = []
    with file.path.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        reader = csv.reader(_remembered(lines, taken), delimiter=mark)
        header_seen, line, raw = False, 1, ""
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise SourceUnreadable(
                    f"{file.name}, line {line}: a quote opened here is not closed within {LINE_LIMIT >> 20} MiB ({error})"
                ) from error
            if row is None:
                break
            raw = "".join(taken)
            taken.clear()
            if row and header_seen:
                if not file.even_quotes and _open_at_end(raw, mark):
                    raise SourceUnreadable(f"{file.name} is truncated: a quote opened on line {line} is never closed: {clip(raw[:80])!r}")
                yield line, row, raw.rstrip("\r\n")
            header_seen = header_seen or bool(row)


def _remembered(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _open_at_end(raw: str, mark: str) -> bool:
    try:
        list(csv.reader(raw.splitlines(keepends=True), delimiter=mark, strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False
