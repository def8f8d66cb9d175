"""Where the records of the last requests lie on disk, by request and key, so that feedback finds the one that it is about.

Sixteen bytes a request and no text: an hour of them, MOST at most. A cache and nothing else: a process that has just started reads it from
the records again, when the first feedback comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.control.watch.reader import BATCH, BATCH_BYTES, Taken, hour_of
from penstock.serving.record_files import segments
from penstock.serving.segment import Place, pick, read_on

MOST, CHUNK = 1_000_000, 1 << 16  # requests that are known; of them in one piece
Pair = tuple[str, str | None]  # id of the request, id of the key that asked
Lies = tuple[str, int, int | None]  # segment, number of the record, byte of its line


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Sorted by the hash of the pair. `latest`: until when the requests were over, at most."""

    hashes: npt.NDArray[np.int64]
    segments: Sequence[str]
    lies: npt.NDArray[np.int64]  # (n, 3): place in `segments`, number, byte or -1
    latest: float

    def find(self, wanted: int) -> Iterable[Lies]:
        low, high = np.searchsorted(self.hashes, (wanted, wanted + 1)) if wanted < 2**63 - 1 else (0, 0)
        for segment, number, byte in self.lies[low:high].tolist():
            yield self.segments[segment], number, None if byte < 0 else byte


class Requests:
    """Of one folder of records."""

    def __init__(self, folder: Path, most: int = MOST) -> None:
        self._folder, self._most = folder, most
        self._open: dict[int, Lies] = {}
        self._chunks: deque[_Chunk] = deque()
        self._latest = 0.0

    def fill(self, places: Mapping[str, Place], since: float) -> None:
        """Reads what lies before `places`, of the hours from that of `since` on, newest first until there is enough."""
        chosen: list[tuple[Path, int]] = []
        for path in reversed(segments(self._folder, since)):
            if path.stem[:11] < hour_of(since) or sum(rows for _, rows in chosen) >= self._most:
                break
            chosen.append((path, places.get(path.stem, Place()).rows))
        for path, rows in reversed(chosen):
            place = Place()
            while place.rows < rows:
                piece = read_on(path, place, min(BATCH, rows - place.rows), BATCH_BYTES)
                if not piece.rows:
                    break
                place = piece.after(len(piece.rows))
                self.add([Taken(path.stem, piece, range(len(piece.rows)))])

    def add(self, taken: Iterable[Taken]) -> None:
        for each in taken:
            for number in each.numbers:
                row = each.piece.rows[number]
                if row.get("shadow_of") is None:
                    self._open.setdefault(hash((row.get("id"), row.get("key"))), (each.segment, *each.piece.lies(number)))
                self._latest = max(self._latest, over(row))
            if len(self._open) >= CHUNK:
                self._close()

    def forget(self, before: float) -> None:
        """Lets go of pieces whose requests were all over before the instant, and of the oldest where there are too many."""
        while self._chunks and (self._chunks[0].latest < before or len(self._chunks) * CHUNK > self._most):
            self._chunks.popleft()

    def find(self, pairs: Iterable[Pair]) -> dict[Pair, dict[str, Any]]:
        """Their records, as far as they are known: of several under one pair the first that was answered to the client."""
        wanted: dict[str, list[tuple[Pair, int, int | None]]] = {}
        for pair in dict.fromkeys(pairs):
            for segment, number, byte in self._lies(pair):
                wanted.setdefault(segment, []).append((pair, number, byte))
        found: dict[Pair, dict[str, Any]] = {}
        for segment, places in wanted.items():
            rows = pick(self._folder, segment, [(number, byte) for _, number, byte in places])
            for (pair, _, _), row in zip(places, rows, strict=True):
                if row is not None and (row.get("id"), row.get("key")) == pair and row.get("shadow_of") is None:
                    found.setdefault(pair, row)
        return found

    def _lies(self, pair: Pair) -> Iterable[Lies]:
        key = hash(pair)
        for chunk in self._chunks:
            yield from chunk.find(key)
        if key in self._open:
            yield self._open[key]

    def _close(self) -> None:
        known: dict[str, int] = {}
        hashes = np.fromiter(self._open, np.int64, len(self._open))
        lies = np.array(
            [
                (known.setdefault(segment, len(known)), number, -1 if byte is None else byte)
                for segment, number, byte in self._open.values()
            ],
            np.int64,
        )
        order = np.argsort(hashes, kind="stable")
        self._chunks.append(_Chunk(hashes[order], list(known), lies[order], self._latest))
        self._open = {}


def over(row: Mapping[str, Any]) -> float:
    """When the request was over; 0 where the row does not say."""
    try:
        return float(row["ts"] + row["total_ms"] / 1000)
    except (KeyError, TypeError):
        return 0.0
