"""Feedback with the request that it is about: given once each, in order, to whoever watches that request's deployment.

It counts for the key that asked, up to LATE_S after its request was over. Feedback whose request is not on disk yet (a stream that still
runs) waits WAIT_S for it. What was said of a request before is known for as long; it is read from the feedback's files again after a
restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from penstock.control.outcomes import FEEDBACK_S as LATE_S
from penstock.control.watch.contract import Rated
from penstock.control.watch.reader import KEPT_S, Batch, Reader, hour_of
from penstock.control.watch.requests import Pair, Requests, over
from penstock.serving.feedback import Feedback
from penstock.serving.segment import Place, read_on

WAIT_S = 600.0  # as long as a request may take
READ, MOST_WAITING, MOST_KNOWN = 2000, 10_000, 100_000


@dataclass(slots=True)
class Counts:
    """Since the start: feedback that was given on, and what was not, by reason."""

    rated: int = 0
    repeated: int = 0
    late: int = 0
    unmatched: int = 0
    unread: int = 0


@dataclass(slots=True)
class Ratings:
    """Files of hours before `floor` are done with, unless they have a place. What has to be saved: as_json."""

    gateway: Path
    reader: Reader
    floor: str
    places: dict[str, Place] = field(default_factory=dict)
    waiting: dict[Pair, list[Feedback]] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    _known: dict[Pair, tuple[Feedback, ...]] = field(default_factory=dict)
    _requests: Requests | None = None

    def take(self, batch: Batch, now: float) -> list[Rated]:
        """What was said by the end of the batch, and what had waited for a request of it, by when it was said."""
        before = self.places
        said = self._new(batch.until, now)
        if self._requests is None:
            if not said and not self.waiting:
                return []
            self._requests = self._begin(batch, before)
        self._requests.add(batch.taken)
        self._requests.forget(batch.until - LATE_S)
        if self.waiting:
            for pair in self.waiting.keys() & {(row.get("id"), row.get("key")) for row in batch.rows}:
                said = [*self.waiting.pop(pair), *said]
        found = self._requests.find((one.id, one.key) for one in said)
        rated = [each for one in sorted(said, key=lambda one: one.ts) if (each := self._rated(one, found)) is not None]
        self._tidy(batch.until)
        return rated

    def as_json(self) -> dict[str, Any]:
        waiting = [asdict(one) for said in self.waiting.values() for one in said]
        places = {name: [place.rows, place.offset] for name, place in self.places.items()}
        return {"floor": self.floor, "places": places, "waiting": waiting}

    def restore(self, value: Any) -> None:
        """Raises ValueError, TypeError, KeyError."""
        self.places = {str(name): Place(int(rows), int(offset)) for name, (rows, offset) in value["places"].items()}
        self.floor, self.waiting = str(value["floor"]), {}
        for one in value["waiting"]:
            said = Feedback(**one)
            self.waiting.setdefault((said.id, said.key), []).append(said)

    def _rated(self, said: Feedback, found: Mapping[Pair, dict[str, Any]]) -> Rated | None:
        pair = (said.id, said.key)
        row, earlier = found.get(pair), self._known.get(pair, ())
        if any(said.feedback == one.feedback for one in earlier):
            self.counts.repeated += 1
            return None
        if row is None:
            self._wait(pair, said)
            return None
        row["at"] = over(row)
        if said.ts > row["at"] + LATE_S:
            self.counts.late += 1
            return None
        self._remember(said)
        self.counts.rated += 1
        return Rated(row, said, earlier)

    def _wait(self, pair: Pair, said: Feedback) -> None:
        waits = self.waiting.setdefault(pair, [])
        if any(said.feedback == one.feedback for one in waits):
            self.counts.repeated += 1
        else:
            waits.append(said)

    def _tidy(self, until: float) -> None:
        too_many = len(self.waiting) - MOST_WAITING
        for place, (pair, said) in enumerate([*self.waiting.items()]):
            if place < too_many or said[0].ts < until - WAIT_S:
                self.counts.unmatched += len(self.waiting.pop(pair))
        while self._known and (len(self._known) > MOST_KNOWN or next(iter(self._known.values()))[-1].ts < until - 2 * LATE_S):
            del self._known[next(iter(self._known))]

    def _new(self, until: float, now: float) -> list[Feedback]:
        """What was said by `until` and not taken yet, from every file."""
        self.floor = max(self.floor, hour_of(until - KEPT_S))
        names = {path.stem: path for path in self._files() if path.stem in self.places or path.stem[:11] >= self.floor}
        self.places = {name: place for name, place in self.places.items() if name in names and name[:11] >= self.floor}
        return [said for name in sorted(names) for said in self._of(names[name], until, now)]

    def _of(self, path: Path, until: float, now: float) -> Iterator[Feedback]:
        full = True
        while full:
            place = self.places.get(path.stem, Place())
            if place.offset == path.stat().st_size:
                return
            piece = read_on(path, place, READ)
            count, full = 0, piece.full
            for row in piece.rows:
                said = feedback_of(row)
                if said is not None and until < said.ts <= now:  # what a clock that was ahead wrote is not held back
                    full = False
                    break
                count += 1
                if said is None:
                    self.counts.unread += 1
                else:
                    yield said
            self.counts.unread += piece.unread if count == len(piece.rows) else 0
            self.places[path.stem] = piece.after(count)

    def _begin(self, batch: Batch, before: Mapping[str, Place]) -> Requests:
        """Reads again what a process before this one knew: where requests lie, and what was said of them up to the places `before`."""
        first = {
            each.segment: Place(each.piece.start.rows + each.numbers[0]) for each in batch.taken
        }  # the batch itself is not among them yet
        found = Requests(self.gateway / "records")
        found.fill({**self.reader.places, **first}, batch.until - LATE_S)
        waits = {one.feedback for said in self.waiting.values() for one in said}
        for path in self._files():
            if path.stem[:11] >= hour_of(batch.until - 2 * LATE_S) and before.get(path.stem, Place()).rows:
                for row in read_on(path, Place(), before[path.stem].rows).rows:
                    said = feedback_of(row)
                    if said is not None and said.feedback not in waits:
                        self._remember(said)
        return found

    def _remember(self, said: Feedback) -> None:
        pair = (said.id, said.key)
        earlier = self._known.pop(pair, ())
        new = all(said.feedback != one.feedback for one in earlier)
        self._known[pair] = (*earlier, said) if new else earlier  # last in the order in which they are forgotten

    def _files(self) -> list[Path]:
        return sorted(path for path in (self.gateway / "feedback").glob("[0-9]*.jsonl"))


def feedback_of(row: Mapping[str, Any]) -> Feedback | None:
    """From a line; None when it is none of ours."""
    try:
        said = Feedback(**{name: row[name] for name in _FIELDS if name in row})
    except TypeError:
        return None
    good = isinstance(said.id, str) and isinstance(said.feedback, str) and isinstance(said.ts, (int, float))
    numbers = said.score is None or isinstance(said.score, (int, float))
    texts: Iterable[Any] = (said.key, said.label, said.correction, said.user)
    return said if good and numbers and all(text is None or isinstance(text, str) for text in texts) else None


_FIELDS = tuple(each.name for each in fields(Feedback))
