"""Records on disk: segments of lines that a gateway appends to, and the same as Parquet once they are closed. Read both as one.

`python -m penstock.serving.record_files FOLDER` compacts once; the background process runs it beside itself. A crash between writing the
Parquet file and removing the segment repeats the segment; a reader that finds both takes the Parquet file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import orjson

from penstock.core.files import told_plainly
from penstock.serving.records import Record
from penstock.serving.segment import parsed, records_of

_GRACE_S, _ROWS = 60.0, 8192


def read_records(folder: Path, since: float = 0.0, until: float = float("inf")) -> Iterator[dict[str, Any]]:
    """Records with since ≤ ts < until (seconds since the epoch), segment by segment; within a segment in the order of completion."""
    for path in segments(folder, since):
        for record in read_segment(path):
            if since <= record["ts"] < until:
                yield record


def read_segment(path: Path) -> Iterator[dict[str, Any]]:
    """Every record of one file that `segments` named."""
    if path.suffix == ".jsonl":
        try:
            yield from _lines(path)
            return
        except FileNotFoundError:  # compacted since it was listed
            path = path.with_suffix(".parquet")
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS):
            yield from records_of(batch)


def segments(folder: Path, since: float = 0.0) -> list[Path]:
    """Files that may hold records of `since` or later, oldest first; each segment once, as Parquet where that is there."""
    first = time.strftime("%Y%m%d-%H", time.gmtime(max(since - 1, 0)))
    found = {path.stem: path for suffix in ("jsonl", "parquet") for path in folder.glob(f"[0-9]*.{suffix}")}
    return [found[stem] for stem in sorted(found) if stem[:11] >= first]


def closed_segments(folder: Path, now: float | None = None) -> list[Path]:
    """Segments of lines that nobody appends to any more: a later one of the same process exists, or their hour is past."""
    paths = sorted(folder.glob("[0-9]*.jsonl"), key=_order)
    current = time.strftime("%Y%m%d-%H", time.gmtime((time.time() if now is None else now) - _GRACE_S))
    newest = {_order(path)[0]: path for path in paths}
    return [path for path in paths if path.name[:11] < current or newest[_order(path)[0]] != path]


def compact(folder: Path, now: float | None = None) -> list[Path]:
    """Turns each closed segment into `<name>.parquet` beside it. Raises DiskFull, ReadOnly; the segment then stays."""
    written = []
    for path in closed_segments(folder, now):
        target, beside = path.with_suffix(".parquet"), path.with_name(f".{path.stem}.parquet.part")
        with told_plainly(target):
            if _write_parquet(beside, _lines(path)):
                beside.replace(target)
                written.append(target)
            path.unlink()
    return written


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """How many rows were written; no file for none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, writer, count = _schema(), None, 0
    try:
        for batch in _batches(rows):
            writer = writer or pq.ParquetWriter(path, schema, compression="zstd")
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        if writer is not None:
            writer.close()
    return count


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        if (fields := row.get("metadata")) is not None:
            row["metadata"] = orjson.dumps(fields).decode()
        batch.append(row)
        if len(batch) >= _ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _schema() -> Any:
    import pyarrow as pa

    kinds = {float: pa.float64(), float | None: pa.float64(), int: pa.int64(), bool: pa.bool_(), tuple[str, ...]: pa.list_(pa.string())}
    return pa.schema([(name, kinds.get(kind, pa.string())) for name, kind in get_type_hints(Record).items()])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            if (record := parsed(line)) is not None:
                yield record


def _order(path: Path) -> tuple[str, str, int]:
    hour, pid, number = path.stem.rsplit("-", 2)
    return pid, hour, int(number)


if __name__ == "__main__":
    print(len(compact(Path(sys.argv[1]))), "segments compacted", file=sys.stderr)
