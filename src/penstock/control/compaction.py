"""Turns closed segments of records into Parquet: one low-priority process at a time, looked after by the background process."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PAUSE_S, NICE = 300.0, 10


class Compaction:
    """`look` is called often and never waits."""

    def __init__(self, records: Path, log: Path) -> None:
        self.records, self.log = records, log
        self._process: subprocess.Popen[bytes] | None = None
        self._due = 0.0
        self._can = find_spec("pyarrow") is not None  # without it, records stay lines

    def look(self, now: float) -> bool:
        """Starts compacting when it is time and there is something to do. `now`: seconds of the monotonic clock. True: it runs."""
        if self._process is not None:
            if self._process.poll() is None:
                return True
            self._process = None
        if not self._can or now < self._due:
            return False
        self._due = now + PAUSE_S
        from penstock.serving.record_files import closed_segments

        if not closed_segments(self.records):
            return False
        command = [sys.executable, "-m", "penstock.serving.record_files", str(self.records)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        os.setpriority(os.PRIO_PROCESS, self._process.pid, NICE)
        return True

    def close(self) -> None:
        """Ends a compaction that runs; what it had not finished is repeated the next time."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
