"""The newest records and feedback of one experiment, held in memory: each look reads what was appended since the last, not the hour again.

A cache of what lies on disk and nothing else: a process that has just started, or that is asked for more than is held, reads the files.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from penstock.serving.feedback import Feedback, parsed_feedback
from penstock.serving.record_files import read_records, segments
from penstock.serving.segment import Place, read_on

MOST = 100_000  # records held, about 60 MB
FAILED = 502  # what the gateway heard of a version that failed, whatever the client was told in the end
_KEPT = (
    *("id", "ts", "total_ms", "first_ms", "queue_ms", "status", "version", "session", "key", "attempts", "flags", "cost_usd"),
    *("shadow_of", "fallback_for", "experiment", "label"),
)

Row = Mapping[str, Any]


class Recent:
    """Records of `experiment` under the folder of a gateway. Not thread-safe."""

    def __init__(self, gateway: Path, experiment: str, most: int = MOST) -> None:
        self._folder, self._experiment, self._most = gateway / "records", experiment, most
        self._held: list[Row] = []
        self._taken: dict[str, Place] = {}  # by segment
        self.since: float | None = None  # everything from then on is held
        self._feedback = _RecentFeedback(gateway / "feedback")

    def records(self, since: float, until: float) -> Iterator[Row]:
        """Those with since ≤ ts < until, in no order; from disk where that reaches back further than what is held."""
        if self.since is None:
            self.since = since
        self._catch_up()
        if since < self.since:
            mine = (r for r in read_records(self._folder, since, until) if r.get("experiment") == self._experiment)
            yield from map(outcome, mine)
        else:
            yield from (row for row in self._held if since <= row["ts"] < until)

    def said(self, since: float, until: float) -> list[Feedback]:
        """Feedback with since < ts ≤ until, oldest first, on whatever request. Asked for an earlier instant than before, it reads all."""
        return self._feedback.said(since, until)

    def held(self) -> list[Row]:
        """All that is held, after a look for more."""
        self._catch_up()
        return self._held

    def _catch_up(self) -> None:
        since = self.since or 0.0
        paths = segments(self._folder, since)
        for path in paths:
            mine = (r for r in self._new(path) if r.get("experiment") == self._experiment and r["ts"] >= since)
            self._held += [_slim(outcome(record)) for record in mine]
        self._taken = {path.stem: self._taken[path.stem] for path in paths if path.stem in self._taken}
        if len(self._held) > self._most:
            self._held.sort(key=lambda row: row["ts"])
            dropped = len(self._held) - self._most // 2
            self.since = math.nextafter(self._held[dropped - 1]["ts"], math.inf)
            del self._held[:dropped]

    def _new(self, path: Path) -> list[dict[str, Any]]:
        start = self._taken.get(path.stem, Place())
        if start.offset is None:  # read as a table: that was all of it
            return []
        piece = read_on(path, start, sys.maxsize)
        self._taken[path.stem] = piece.after(len(piece.rows))
        return piece.rows


class _RecentFeedback:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, Feedback] = {}
        self._offsets: dict[str, int] = {}
        self._since: float | None = None

    def said(self, since: float, until: float) -> list[Feedback]:
        if self._since is None or since < self._since:
            self._held, self._offsets = {}, {}
        self._since = since
        for path in sorted(self._folder.glob("*.jsonl")):
            self._catch_up(path)
        self._held = {name: one for name, one in self._held.items() if one.ts > since}
        return sorted((one for one in self._held.values() if one.ts <= until), key=lambda one: one.ts)

    def _catch_up(self, path: Path) -> None:
        offset = self._offsets.get(path.name, 0)
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offsets[path.name] = offset + len(whole)
        for line in whole.splitlines():
            if (one := parsed_feedback(line)) is not None:
                self._held.setdefault(one.feedback, one)


def outcome(record: Row) -> Row:
    """The request as the version that it was drawn for must be judged by it: a failure where that version failed, though another attempt
    was answered and the client saw nothing of it. What is said of that answer is not about this version.
    """
    failed = record.get("failed_on")
    if not failed:
        return record
    return {**record, "id": f"{record['id']}/failed", "version": failed[0], "status": FAILED, "cost_usd": 0.0, "label": None}


def _slim(record: Row) -> Row:
    return {name: record.get(name) for name in _KEPT}
