"""Records as they are written, each at least once, from where the last reader stopped.

The cursor is how many records of each segment were taken, so it holds for lines and for the Parquet file that they become. It is saved
after a batch was dealt with: a reader killed in between gets that batch again.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import orjson

from penstock.core.files import write_atomic
from penstock.serving.record_files import segments
from penstock.serving.segment import Place, read_on

_QUIET_S = 3600.0


class Tail:
    """`take` gives the next records of one segment, `done` says that they were dealt with."""

    def __init__(self, folder: Path, cursor: Path, since: float) -> None:
        """`since`: seconds since the epoch; where there is no cursor yet, older records are passed over."""
        self.folder, self.cursor = folder, cursor
        self._places: dict[str, Place] = {}  # by segment: what was taken of it
        self._ended: set[str] = set()  # read to the end, and not growing any more
        self._pending: tuple[str, Place] | None = None
        self._since = since
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            saved = orjson.loads(cursor.read_bytes())
            self._places = {str(name): Place(int(rows), None) for name, rows in saved["rows"].items()}
            self._since = float(saved["since"])

    def take(self, limit: int) -> list[dict[str, Any]]:
        """At most `limit` records that were not dealt with; none: nothing new."""
        for path in segments(self.folder, self._since):
            if path.stem in self._ended:
                continue
            piece = read_on(path, self._places.get(path.stem, Place()), limit)
            if piece.rows:
                self._pending = (path.stem, piece.after(len(piece.rows)))
                wanted = [record for record in piece.rows if record["ts"] >= self._since]
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
        name, place = self._pending
        self._pending = None
        there = {path.stem for path in segments(self.folder, self._since)}
        self._places = {name: place for name, place in {**self._places, name: place}.items() if name in there}
        rows = {name: place.rows for name, place in self._places.items()}
        write_atomic(self.cursor, orjson.dumps({"since": self._since, "rows": rows}), sync=False)
