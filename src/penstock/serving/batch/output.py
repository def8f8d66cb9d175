"""The answers as one file: JSON Lines, CSV or Parquet, written a row group at a time; what failed again in a file of its own."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

GROUP_ROWS = 4096
_TYPES = {"score": "float64", "embedding": "list", "prompt_tokens": "int64", "completion_tokens": "int64"}
FAILURES = "failures.jsonl"


def write_output(folder: Path, kind: str, lines: Iterable[Mapping[str, Any]], columns: Sequence[str], prefix: str = "") -> int:
    """Writes `predictions.<kind>` and, where rows failed, failures.jsonl; returns how many failed. Memory does not grow with the rows.

    `lines`: row, line, error as in parts.py. In CSV and Parquet what is no plain value is written as JSON.
    """
    with (folder / FAILURES).open("wb") as failures:
        failed = 0

        def passing() -> Iterator[Mapping[str, Any]]:
            nonlocal failed
            for each in lines:
                if each["error"]:
                    failed += 1
                    failures.write(orjson.dumps({"row": each["row"], "error": each["error"]}) + b"\n")
                yield each["line"]

        target = folder / f"predictions.{kind}"
        if kind == "jsonl":
            with target.open("wb") as file:
                file.writelines(orjson.dumps(line) + b"\n" for line in passing())
        elif kind == "csv":
            _csv(target, passing(), columns)
        else:
            _parquet(target, passing(), columns, prefix)
    if not failed:
        (folder / FAILURES).unlink()
    return failed


def _csv(target: Path, lines: Iterator[Mapping[str, Any]], columns: Sequence[str]) -> None:
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for line in lines:
            writer.writerow([_plain(line.get(name)) for name in columns])


def _plain(value: Any) -> Any:
    return "" if value is None else orjson.dumps(value).decode() if isinstance(value, (dict, list, bool)) else value


def _parquet(target: Path, lines: Iterator[Mapping[str, Any]], columns: Sequence[str], prefix: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"float64": pa.float64(), "list": pa.list_(pa.float32()), "int64": pa.int64()}
    types = [kinds.get(_TYPES.get(name.removeprefix(prefix), ""), pa.string()) for name in columns]
    schema = pa.schema(list(zip(columns, types, strict=True)))
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        while group := list(itertools.islice(lines, GROUP_ROWS)):
            arrays = [pa.array([_cell(line.get(name), kind) for line in group], kind) for name, kind in zip(columns, types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _cell(value: Any, kind: Any) -> Any:
    if value is None or str(kind) != "string" or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()
