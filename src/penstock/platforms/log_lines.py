"""Structured lines in a job's log: `::penstock {json}` with one of `point`, `progress`, `log`.

{"point": {"name": str, "value": float, "step": int, "at": seconds}}
{"progress": {"done": float, "total": float | null, "unit": str, "facts": {name: float}, "at": seconds}}
{"log": {"message": str, "at": seconds}}
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

PREFIX = "::penstock "
FLUSH_S = 0.2

Emit = Callable[[Mapping[str, Any]], None]


def render(event: Mapping[str, Any]) -> str:
    return f"{PREFIX}{json.dumps(event)}\n"


def parse(line: str) -> dict[str, Any] | None:
    """The event of a structured line; None for any other line, and for one that was cut or forged."""
    if not line.startswith(PREFIX):
        return None
    try:
        value = json.loads(line[len(PREFIX) :])
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


class LineWriter:
    """Buffers events; a thread hands whole lines to `write` every 0.2 s at most. Of progress in a row only the newest is kept."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._events: list[Mapping[str, Any]] = []
        self._lock, self._waiting, self._stop = threading.Lock(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, event: Mapping[str, Any]) -> None:
        with self._lock:
            if "progress" in event and self._events and "progress" in self._events[-1]:
                self._events[-1] = event
            else:
                self._events.append(event)
            if self._thread is None:
                self._thread = threading.Thread(target=self._flush_often, name="penstock-log", daemon=True)
                self._thread.start()
        self._waiting.set()

    def flush(self) -> None:
        with self._lock:
            events, self._events = self._events, []
            if events:
                self._write("".join(map(render, events)).encode())

    def close(self) -> None:
        self._stop.set()
        self._waiting.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _flush_often(self) -> None:
        while not self._stop.is_set():
            self._waiting.wait()
            self._waiting.clear()
            self.flush()
            self._stop.wait(FLUSH_S)
