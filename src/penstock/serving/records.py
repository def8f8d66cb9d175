"""One line a request, appended off the hot path: `YYYYMMDD-HH-<pid>-<n>.jsonl`, rotated by hour and size; later Parquet.

No prompt text, no answer text, no key: only the key's id. What cannot be written (disk full, read-only) is dropped and counted; serving
never waits for it. A line that a crash cut short is skipped by the reader.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from penstock.core.files import told_plainly

log = logging.getLogger("penstock.records")
FLUSH_S, SLICE, SEGMENT_BYTES, MAX_BUFFERED = 0.1, 64, 64 << 20, 200_000
_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Record:
    """Times: `ts` seconds since the epoch at arrival; `queue_ms` until sent to a replica, `first_ms` until the first byte of the answer."""

    ts: float
    id: str
    model: str | None
    version: str | None
    replica: str | None
    route: str
    key: str | None
    status: int
    bytes_in: int
    bytes_out: int
    prompt_tokens: int
    completion_tokens: int
    queue_ms: float
    first_ms: float
    total_ms: float
    attempts: int
    error: str | None = None  # code of the error that was answered
    trace: str | None = None  # W3C trace id, 32 hex digits
    span: str | None = None  # the gateway's own span id, 16 hex digits
    parent: str | None = None  # the caller's span id
    session: str | None = None  # digest of what the route stuck to
    adapter: str | None = None
    experiment: str | None = None
    shadow_of: str | None = None  # id of the request whose copy this is
    fallback_for: str | None = None  # the model that was asked for, when another one answered
    hedged: bool = False
    stream: bool = False
    flags: tuple[str, ...] = ()  # findings of guardrails, such as `input:injection:block`
    guard_ms: float = 0.0
    cost_usd: float = 0.0
    energy_wh: float = 0.0  # estimated, see docs/explanation/serving.md
    text_in: str | None = None
    text_out: str | None = None


class RecordWriter:
    """Buffers on the event loop, writes in a thread. `written` and `dropped` are counts since the start."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder, self.segment_bytes = folder, segment_bytes
        self.written = self.dropped = 0
        self._buffer: list[Record] = []
        self._task: asyncio.Task[None] | None = None
        self._file: int | None = None
        self._hour, self._number, self._size = "", 0, 0
        self._complained = False

    def add(self, record: Record) -> None:
        if len(self._buffer) >= MAX_BUFFERED:
            self.dropped += 1
            return
        self._buffer.append(record)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._soon())

    async def close(self) -> None:
        """Writes what is buffered."""
        if self._task is not None:
            await self._task
        self.write(self._take())
        self._shut()

    def write(self, batch: list[Record]) -> None:
        """Appends whole lines; never raises on what the file system refuses."""
        for start in range(0, len(batch), SLICE):  # the system call between two slices lets the event loop have the interpreter
            self._append(batch[start : start + SLICE])

    def _append(self, batch: list[Record]) -> None:
        data = b"".join([orjson.dumps(r, option=orjson.OPT_APPEND_NEWLINE) for r in batch])
        try:
            done = os.write(self._segment(len(data)), data)
            if done != len(data):
                raise OSError(errno.ENOSPC, "short write")
            self._size += done
            self.written += len(batch)
            self._complained = False
        except OSError as error:
            self.dropped += len(batch)
            self._mend()
            if not self._complained:
                log.error("request records cannot be written to %s (%s); serving goes on without them", self.folder, error.strerror)
                self._complained = True

    def _mend(self) -> None:
        """Takes back half a line, so that the same segment can go on when there is room again."""
        if self._file is not None:
            try:
                os.ftruncate(self._file, self._size)
            except OSError:
                self._shut()

    async def _soon(self) -> None:
        await asyncio.sleep(FLUSH_S)
        try:
            await asyncio.get_running_loop().run_in_executor(None, self.write, self._take())
        finally:
            self._task = None
        if self._buffer:
            self._task = asyncio.get_running_loop().create_task(self._soon())

    def _take(self) -> list[Record]:
        taken, self._buffer = self._buffer, []
        return taken

    def _segment(self, more: int) -> int:
        hour = time.strftime("%Y%m%d-%H", time.gmtime())
        if self._file is not None and (hour != self._hour or self._size + more > self.segment_bytes):
            self._shut()
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._hour, self._size = hour, 0
            self._number += 1
            path = self.folder / f"{hour}-{os.getpid()}-{self._number}.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        return self._file

    def _shut(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_records(folder: Path, since: float = 0.0, until: float = float("inf")) -> Iterator[dict[str, Any]]:
    """Records with since ≤ ts < until (seconds since the epoch), segment by segment; within a segment in the order of completion."""
    first = time.strftime("%Y%m%d-%H", time.gmtime(max(since - 1, 0)))
    for path in sorted(folder.glob("*.jsonl")):
        if path.name[:11] < first:
            continue
        with path.open("rb") as file:
            for line in file:
                record = _parsed(line)
                if record is not None and since <= record["ts"] < until:
                    yield record


def closed_segments(folder: Path, now: float | None = None) -> list[Path]:
    """Segments that nobody appends to any more: a later one of the same process exists, or their hour is past."""
    paths = sorted(folder.glob("*.jsonl"), key=_order)
    current = time.strftime("%Y%m%d-%H", time.gmtime((time.time() if now is None else now) - _GRACE_S))
    newest = {_order(path)[0]: path for path in paths}
    return [path for path in paths if path.name[:11] < current or newest[_order(path)[0]] != path]


def compact(folder: Path, into: Path, now: float | None = None) -> list[Path]:
    """Writes each closed segment as `into/<name>.parquet` and removes it; a crash in between repeats the segment, never loses it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = []
    into.mkdir(parents=True, exist_ok=True)
    for path in closed_segments(folder, now):
        with path.open("rb") as file:
            rows = [row for line in file if (row := _parsed(line)) is not None]
        target, beside = into / f"{path.stem}.parquet", into / f".{path.stem}.parquet.part"
        if rows:
            with told_plainly(target):
                pq.write_table(pa.Table.from_pylist(rows, schema=_schema()), beside, compression="zstd")
                beside.replace(target)
            written.append(target)
        path.unlink()
    return written


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(), "tuple[str, ...]": pa.list_(pa.string())}
    return pa.schema([(name, kinds.get(str(kind), pa.string())) for name, kind in Record.__annotations__.items()])


def _order(path: Path) -> tuple[str, str, int]:
    hour, pid, number = path.stem.rsplit("-", 2)
    return pid, hour, int(number)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) and "ts" in value else None
