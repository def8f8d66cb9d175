"""Records as they are written, each at least once, from where the last reader stopped.

The cursor is how many records of each segment were taken, so it holds for lines and for the Parquet file that they become. It is saved
after a batch was dealt with: a reader killed in between gets that batch again.
"""

from __future__ import annotations

import contextlib
import time
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from penstock.core.files import write_atomic
from penstock.serving.record_files import read_segment, segments

_QUIET_S = 3600.0


class Tail:
    """`take` gives the next records of one segment, `done` says that they were dealt with."""

    def __init__(self, folder: Path, cursor: Path, since: float) -> None:
        """`since`: seconds since the epoch; where there is no cursor yet, older records are passed over."""
        self.folder, self.cursor = folder, cursor
        self._rows: dict[str, int] = {}  # taken of each segment, by its name
        self._ended: set[str] = set()  # read to the end, and not growing any more
        self._offsets: dict[str, int] = {}  # the same in bytes, for lines
        self._pending: tuple[str, int, int] | None = None
        self._since = since
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            saved = orjson.loads(cursor.read_bytes())
            self._rows = {str(name): int(rows) for name, rows in saved["rows"].items()}
            self._since = float(saved["since"])

    def take(self, limit: int) -> list[dict[str, Any]]:
        """At most `limit` records that were not dealt with; none: nothing new."""
        for path in segments(self.folder, self._since):
            if path.stem in self._ended:
                continue
            found, rows, offset = self._lines(path, limit) if path.suffix == ".jsonl" else self._table(path, limit)
            if rows:
                self._pending = (path.stem, rows, offset)
                wanted = [record for record in found if record["ts"] >= self._since]
                if wanted:
                    return wanted
                self.done()
            elif path.stem[:11] < time.strftime("%Y%m%d-%H", time.gmtime(time.time() - _QUIET_S)):
                self._ended.add(path.stem)
        return []

    def done(self) -> None:
        """Raises DiskFull or ReadOnly when the cursor cannot be saved."""
        if self._pending is None:
            return
        name, rows, offset = self._pending
        self._pending = None
        self._rows[name] = self._rows.get(name, 0) + rows
        self._offsets[name] = offset
        there = {path.stem for path in segments(self.folder, self._since)}
        self._rows = {name: rows for name, rows in self._rows.items() if name in there}
        write_atomic(self.cursor, orjson.dumps({"since": self._since, "rows": self._rows}), sync=False)

    def _lines(self, path: Path, limit: int) -> tuple[list[dict[str, Any]], int, int]:
        """Records, how many, and where in the file they end; half a line at the end waits for its other half."""
        taken, offset = self._rows.get(path.stem, 0), self._offsets.get(path.stem)
        found: list[dict[str, Any]] = []
        skip = taken if offset is None else 0
        try:
            with path.open("rb") as file:
                file.seek(offset or 0)
                end = offset or 0
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    end += len(line)
                    record = _parsed(line)
                    if record is None:
                        continue
                    if skip:
                        skip -= 1
                        continue
                    found.append(record)
                    if len(found) >= limit:
                        break
        except FileNotFoundError:
            return [], 0, 0
        return found, len(found), end

    def _table(self, path: Path, limit: int) -> tuple[list[dict[str, Any]], int, int]:
        taken = self._rows.get(path.stem, 0)
        found = list(islice(read_segment(path), taken, taken + limit))
        return found, len(found), 0


def _parsed(line: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(orjson.JSONDecodeError):
        value = orjson.loads(line)
        if isinstance(value, dict) and "ts" in value:
            return value
    return None
