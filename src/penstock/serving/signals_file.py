"""`signals.prom` in the gateway's folder: what the watcher measured, told at `/metrics` beside the gateway's own counts.

The gateway needs no database for it, and goes on without the file. Once it is older than STALE_S its values are left out, as Prometheus
does with a series that is gone: an alert must not go on firing, or stay silent, on what nobody measures any more. When the file was
written is told at all times.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from penstock.serving.metrics import Family

FILE = "signals.prom"
HEAD = b"# penstock signals 1\n"
STALE_S = 300.0
MOST_BYTES = 1 << 20  # larger ones are none of the watcher's


@dataclass(slots=True)
class SignalsFile:
    """Read again when it was replaced. `written`: seconds since the epoch; 0: there is none that can be read."""

    path: Path
    written: float = 0.0
    _text: bytes = b""
    _seen: tuple[int, int] = (0, 0)

    def render(self, now: float | None = None) -> bytes:
        """Prometheus text, with the time of writing first."""
        self._read()
        told = Family("penstock_signals_written_timestamp_seconds", "gauge", "When signals were last written; 0: never.")
        told.set((), self.written)
        fresh = (time.time() if now is None else now) - self.written <= STALE_S
        return "".join(told.render()).encode() + (self._text if fresh else b"")

    def _read(self) -> None:
        try:
            found = self.path.stat()
            if (seen := (found.st_mtime_ns, found.st_ino)) == self._seen:
                return
            text = self.path.read_bytes() if found.st_size <= MOST_BYTES else b""
        except OSError:
            self._text, self._seen, self.written = b"", (0, 0), 0.0
            return
        whole = text.startswith(HEAD) and text.endswith(b"\n")
        self._text, self._seen, self.written = text if whole else b"", seen, found.st_mtime if whole else 0.0
