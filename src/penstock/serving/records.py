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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from penstock.serving.capture import Captured
from penstock.serving.record_lines import Lines

log = logging.getLogger("penstock.records")
FLUSH_S, SEGMENT_BYTES, MAX_BUFFERED = 0.1, 64 << 20, 200_000
MAX_CAPTURED = 32 << 20  # bytes of requests and answers that wait to be read and masked; as many may just be at it
Energy = Callable[[str, float], float]
Late = tuple["Record", Captured]


class Record(NamedTuple):
    """Times: `ts` seconds since the epoch at arrival; `queue_ms` until sent to a replica, `first_ms` until the first byte of the answer.

    All times 0, no replica and no attempts: it went past the gateway (direct.py).
    """

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
    label: str | None = None  # the best one, where one text was classified, and its score
    confidence: float | None = None
    metadata: dict[str, str | float] | None = None  # of the client's, the fields that the deployment declares
    training: bool = True  # whether client and key let it be trained on
    failed_on: tuple[str, ...] = ()  # versions that answered with a failure, before another attempt was answered


class RecordWriter:
    """Buffers on the event loop, writes in a thread. `written`, `dropped` and `texts_dropped` are counts since the start.

    A record becomes a line at once: a thread that made thousands of lines at a time would fight the event loop for the interpreter, which
    costs a request several times the line. Only texts wait for the thread. `energy` gives the watt-hours of a request by its replica and
    its seconds there (energy.py).
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder, self.segment_bytes = folder, segment_bytes
        self.written = self.dropped = self.texts_dropped = 0
        self.energy: Energy | None = None
        self._lines, self._others = Lines[Late](), Lines[Late]()
        self._held = 0  # bytes of texts that wait
        self._task: asyncio.Task[None] | None = None
        self._file: int | None = None
        self._hour, self._number, self._size = "", 0, 0
        self._complained = False
        self._fields: dict[str, Any] = dict.fromkeys(Record._fields)

    def add(self, record: Record, texts: Captured | None = None) -> None:
        lines = self._lines
        if lines.count >= MAX_BUFFERED:
            self.dropped += 1
            return
        if texts is not None and self._held + texts.size > MAX_CAPTURED:
            self.texts_dropped += 1
            texts = None
        if texts is None:
            lines.add(self._line(record, self._fields))
        else:
            self._held += texts.size
            lines.add_late((record, texts))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._soon())

    async def close(self) -> None:
        """Writes what is buffered."""
        if self._task is not None:
            await self._task
        self._write(self._lines)
        self._shut()

    def write(self, batch: Sequence[Record], texts: Mapping[int, Captured] | None = None) -> None:
        """Appends at once, `texts` by their record's place; never raises on what the file system refuses."""
        lines, waiting = Lines[Late](), texts or {}
        for place, record in enumerate(batch):
            if place in waiting:
                lines.add_late((record, waiting[place]))
            else:
                lines.add(self._line(record, self._fields))
        self._write(lines)

    def _write(self, lines: Lines[Late]) -> None:
        """Appends whole lines and forgets them."""
        try:
            for piece in lines.pieces():
                if isinstance(piece[1], int):
                    self._append(*piece)
                else:
                    self._append(self._told(*piece), 1)
        finally:
            lines.clear()

    def _told(self, record: Record, texts: Captured) -> bytes:
        """The line with its texts, masked. A text that cannot be masked is left out."""
        try:
            text_in, text_out = texts.texts()
            record = record._replace(text_in=text_in, text_out=text_out)
        except Exception as error:
            self.texts_dropped += 1
            log.error("the texts of request %s could not be read and are not kept (%s)", record.id, type(error).__name__)
        return self._line(record, dict.fromkeys(Record._fields))

    def _line(self, record: Record, fields: dict[str, Any]) -> bytes:
        _fill(fields, record)
        if self.energy is not None and record.replica is not None:
            watt_hours = self.energy(record.replica, (record.total_ms - record.queue_ms) / 1000)
            fields["energy_wh"] = watt_hours * 1e9 // 1 / 1e9
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)

    def _append(self, lines: memoryview | bytes, count: int) -> None:
        try:
            done = os.write(self._segment(len(lines)), lines)
            if done != len(lines):
                raise OSError(errno.ENOSPC, "short write")
            self._size += done
            self.written += count
            self._complained = False
        except OSError as error:
            self.dropped += count
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
        lines, self._lines, self._held = self._lines, self._others, 0
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._write, lines)
        finally:
            self._task, self._others = None, lines
        if self._lines.count:
            self._task = asyncio.get_running_loop().create_task(self._soon())

    def _segment(self, more: int) -> int:
        hour = time.strftime("%Y%m%d-%H", time.gmtime())
        if self._file is not None and (hour != self._hour or self._size + more > self.segment_bytes):
            self._shut()
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._hour, self._size = hour, 0
            self._file = self._fresh(hour)
        return self._file

    def _fresh(self, hour: str) -> int:
        """A segment that nobody has written to: another process may have had this one's number within the hour, as in a container."""
        while True:
            self._number += 1
            path = self.folder / f"{hour}-{os.getpid()}-{self._number}.jsonl"
            if path.with_suffix(".parquet").exists():
                continue
            try:
                return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
            except FileExistsError:
                continue

    def _shut(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _fill(line: dict[str, Any], record: Record) -> None:
    """One dict, filled anew for each record: making one of so many fields costs more than writing it."""
    # fmt: off
    (
        line["ts"], line["id"], line["model"], line["version"], line["replica"], line["route"], line["key"], line["status"],
        line["bytes_in"], line["bytes_out"], line["prompt_tokens"], line["completion_tokens"], line["queue_ms"], line["first_ms"],
        line["total_ms"], line["attempts"], line["error"], line["trace"], line["span"], line["parent"], line["session"], line["adapter"],
        line["experiment"], line["shadow_of"], line["fallback_for"], line["hedged"], line["stream"], line["flags"], line["guard_ms"],
        line["cost_usd"], line["energy_wh"], line["text_in"], line["text_out"], line["label"], line["confidence"], line["metadata"],
        line["training"], line["failed_on"],
    ) = record
    # fmt: on
