"""Times as people read them: local, to the second."""

from __future__ import annotations

from datetime import datetime


def when(at: float | None) -> str:
    """Seconds since the epoch as `2026-11-21 02:20:09`; `-` for None."""
    return "-" if at is None else datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
