"""How the watcher is: a small file that `penstock status` shows, written every few seconds."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from penstock.core.errors import PenstockError
from penstock.core.files import write_atomic

EVERY_S = 2.0
STALE_S = 30.0  # older than that, nobody writes it any more
FILE = "watch.json"


@dataclass(slots=True)
class Health:
    """Counts are since the process started. `until`: all that happened by then is folded; `lag_s`: how long ago that was when written.

    `unread`: lines and rows that were no records; `foreign`: records of models that are no deployment followed here.
    """

    pid: int = field(default_factory=os.getpid)
    created: float = field(default_factory=lambda: psutil.Process().create_time())
    at: float = 0.0
    until: float = 0.0
    lag_s: float = 0.0
    records: int = 0
    records_per_s: float = 0.0
    unread: int = 0
    foreign: int = 0
    signals: int = 0
    feedback: dict[str, int] = field(default_factory=dict)
    deployments: list[str] = field(default_factory=list)
    errors: int = 0
    last_error: str | None = None
    waits_for: str | None = None  # what keeps it from going on, such as the database


class Ledger(logging.Handler):
    """Counts what was logged as an error, and keeps the last one."""

    def __init__(self, health: Health) -> None:
        super().__init__(logging.ERROR)
        self._health = health

    def emit(self, record: logging.LogRecord) -> None:
        self._health.errors += 1
        self._health.last_error = record.getMessage().splitlines()[0][:500]


class HealthFile:
    def __init__(self, folder: Path, health: Health) -> None:
        self.path, self._health = folder / FILE, health
        self._written, self._records = time.monotonic() - EVERY_S, 0

    def write(self, now: float, *, at_once: bool = False) -> None:
        """If it is time. What the disk refuses is no reason to stop."""
        steady, health = time.monotonic(), self._health
        since = steady - self._written
        if since < EVERY_S and not at_once:
            return
        health.records_per_s = round((health.records - self._records) / max(since, 1e-3), 1)
        self._written, self._records = steady, health.records
        health.at, health.lag_s = now, round(max(0.0, now - health.until), 3)
        with contextlib.suppress(PenstockError):
            write_atomic(self.path, json.dumps(asdict(health)).encode(), sync=False)


def watcher_state(home: Path) -> dict[str, Any] | None:
    """What the watcher of this home last said of itself, with `runs`: whether it does. None: it never ran."""
    try:
        state: dict[str, Any] = json.loads((home / "monitor" / FILE).read_bytes())
        pid, created = int(state["pid"]), float(state["created"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        runs = abs(psutil.Process(pid).create_time() - created) < 1.0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        runs = False
    return {**state, "runs": runs}
