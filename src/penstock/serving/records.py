"""One line a request, appended off the hot path: `YYYYMMDD-HH-<pid>-<n>.jsonl`, rotated by hour and size; later Parquet (record_files.py).

No key, only its id; no text unless the model's route asks for it, and then masked here, in the writer's thread (capture.py). What cannot
be written (disk full, read-only) is dropped and counted; serving never waits for it. `kill -9` loses what was answered within the last
FLUSH_S and the time of one write; a line that it cut short is skipped by the reader.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from penstock.serving.capture import Captured

log = logging.getLogger("penstock.records")
FLUSH_S, SLICE, SEGMENT_BYTES, MAX_BUFFERED = 0.1, 64, 64 << 20, 200_000
MAX_CAPTURED = 32 << 20  # bytes of requests and answers that wait to be read and masked; as many may just be at it
Energy = Callable[[str, float], float]


@dataclass(slots=True)  # not frozen: one is made for every request, and a frozen one takes four times as long
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
    energy_wh: float = 0.0  # estimated, see docs/how-to/observe-requests.md
    text_in: str | None = None
    text_out: str | None = None


class RecordWriter:
    """Buffers on the event loop, writes in a thread. `written`, `dropped` and `texts_dropped` are counts since the start.

    `energy` gives the watt-hours of a request by its replica and its seconds there (energy.py); it is asked in the writer's thread.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder, self.segment_bytes = folder, segment_bytes
        self.written = self.dropped = self.texts_dropped = 0
        self.energy: Energy | None = None
        self._buffer: list[Record] = []
        self._texts: dict[int, Captured] = {}  # by place in the buffer
        self._held = 0
        self._task: asyncio.Task[None] | None = None
        self._file: int | None = None
        self._hour, self._number, self._size = "", 0, 0
        self._complained = False

    def add(self, record: Record, texts: Captured | None = None) -> None:
        if len(self._buffer) >= MAX_BUFFERED:
            self.dropped += 1
            return
        if texts is not None:
            if self._held + texts.size > MAX_CAPTURED:
                self.texts_dropped += 1
            else:
                self._held += texts.size
                self._texts[len(self._buffer)] = texts
        self._buffer.append(record)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._soon())

    async def close(self) -> None:
        """Writes what is buffered."""
        if self._task is not None:
            await self._task
        self.write(*self._take())
        self._shut()

    def write(self, batch: list[Record], texts: dict[int, Captured] | None = None) -> None:
        """Appends whole lines; never raises on what the file system refuses."""
        for start in range(0, len(batch), SLICE):  # the system call between two slices lets the event loop have the interpreter
            rows = batch[start : start + SLICE]
            if texts or self.energy is not None:
                for place, record in enumerate(rows):
                    self._complete(record, texts.get(start + place) if texts else None)
            self._append(rows)

    def _complete(self, record: Record, texts: Captured | None) -> None:
        """Puts in texts, masked, and energy. A text that cannot be masked is left out.

        The record is this thread's alone by now, so it is filled in place: a copy of so many fields costs more than writing it.
        """
        if texts is not None:
            try:
                text_in, text_out = texts.texts()
                object.__setattr__(record, "text_in", text_in)
                object.__setattr__(record, "text_out", text_out)
            except Exception as error:
                self.texts_dropped += 1
                log.error("the texts of request %s could not be read and are not kept (%s)", record.id, type(error).__name__)
        if self.energy is not None and record.replica is not None:
            object.__setattr__(record, "energy_wh", round(self.energy(record.replica, (record.total_ms - record.queue_ms) / 1000), 9))

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
            await asyncio.get_running_loop().run_in_executor(None, self.write, *self._take())
        finally:
            self._task = None
        if self._buffer:
            self._task = asyncio.get_running_loop().create_task(self._soon())

    def _take(self) -> tuple[list[Record], dict[int, Captured]]:
        taken = self._buffer, self._texts
        self._buffer, self._texts, self._held = [], {}, 0
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
