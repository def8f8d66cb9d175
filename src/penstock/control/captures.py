"""Requests that went to an endpoint directly become records here, for platforms whose section says `capture`.

A segment of records is named in the cursor before it appears whole, and what it was made of is remembered after: a process killed at any
point neither loses nor doubles a request. Objects that were read are removed, unless the section keeps them.
Not covered: two homes that read the captures of one deployment; where objects are kept, those that come a day after their hour.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from penstock.control.erasure import marked
from penstock.control.policy import with_policy
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import PenstockError
from penstock.core.files import write_atomic
from penstock.core.home import Home
from penstock.platforms.captures import Captures, Held, Passed
from penstock.platforms.table import PLATFORMS
from penstock.serving.direct import line_of
from penstock.serving.snapshot import ModelRoute
from penstock.store.resources import Resource
from penstock.store.store import Store

log = logging.getLogger("penstock.outside")
LATE_S = 3600.0  # that a deployment is gone and its last requests may still come
KEPT_S = 24 * 3600.0  # for so long kept objects of an hour are looked for
ROWS, BYTES = 20_000, 64 << 20  # of a segment
TOLD = 3  # damaged lines of an object that are told one by one
LEFT_OUT = "%s: line %d is left out: %s"


def bring(store: Store, home: Home, now: float) -> int:
    """Everything that was captured since, of every deployment that wants it; the number of records. One that fails holds up no other."""
    count = 0
    for row in wanting(store, now):
        config = row.spec["platform"]["config"]
        try:
            captures: Captures | None = PLATFORMS.load(config["kind"]).captures(home, store.artifacts, config)
            with _alone(_place(home, row)) as mine:
                if captures is not None and mine:
                    count += Bringing(store, home, row, captures).bring(now)
        except PenstockError as error:
            log.warning("%s: what was captured is not read: %s %s", row.name, error, error.way_out)
    return count


def wanting(store: Store, now: float) -> list[Resource]:
    """Deployments of which something may have been captured that nobody has read. One that came again stands for those before it."""
    latest: dict[str, Resource] = {}
    for row in sorted(store.resources.list("deployment", limit=100_000), key=lambda row: (row.phase != "deleted", row.created_at)):
        latest[row.name] = row
    return [row for row in latest.values() if row.spec["platform"].get("config", {}).get("capture") and not _late(row, now)]


def _late(row: Resource, now: float) -> bool:
    return row.phase == "deleted" and now - row.updated_at >= LATE_S


@dataclass(slots=True)
class Cursor:
    """`done`: by object its size when it was read to its end (-1 before), and lines taken. `floor`: no earlier hour is looked at.

    `pending`: the segment that is being written, and what it is made of, as in `done`.
    """

    done: dict[str, tuple[int, int]] = field(default_factory=dict)
    floor: str = ""
    number: int = 0
    pending: tuple[str, dict[str, tuple[int, int]]] | None = None


@dataclass(slots=True)
class _Batch:
    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    done: dict[str, tuple[int, int]] = field(default_factory=dict)
    whole: list[Held] = field(default_factory=list)

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self.size += len(line)

    @property
    def full(self) -> bool:
        return len(self.lines) >= ROWS or self.size >= BYTES


class Bringing:
    """Of one deployment, by one process at a time."""

    def __init__(self, store: Store, home: Home, row: Resource, captures: Captures) -> None:
        self._store, self._row, self._captures = store, row, captures
        self._records, self._place = home.gateway / "records", _place(home, row)
        self._route = with_policy(ModelRoute(row.name, row.spec["task"], ()), row.spec)
        self._process = f"captured{hex_of(digest_json([row.name]))[:8]}"
        self._cursor = self._settled(_read(self._place))
        self._damaged, self._hour = 0, ""

    def bring(self, now: float) -> int:
        """The number of records. Raises PlatformDenied, PlatformAway, DiskFull, ReadOnly; what was brought by then stays brought."""
        self._hour = time.strftime("%Y%m%d-%H", time.gmtime(now))
        batch, listed, count = _Batch(), set[str](), 0
        versions, unwanted = self._versions(), frozenset(marked(self._store))
        for held in self._captures.held(self._row.name, self._cursor.floor):
            listed.add(held.name)
            size, lines = self._cursor.done.get(held.name, (-1, 0))
            if size == held.size:  # read by one that was stopped before it could take it away
                self._remove([held])
                continue
            for one in self._captures.read(held, lines):
                lines += 1
                if isinstance(one, Passed):
                    self._tell(held, lines, one)
                    continue
                batch.add(line_of(one, self._route, versions.get(one.served), unwanted))
                if batch.full:
                    batch.done[held.name] = (-1, lines)
                    count, batch = count + self._flush(batch), _Batch()
            batch.done[held.name] = (held.size, lines)
            batch.whole.append(held)
        count += self._flush(batch)
        self._forget(listed, now)
        if self._damaged:
            said = f"{self._damaged} captured lines could not be read and are left out"
            self._store.events.add("deployment", self._row.id, "deployment.captures", said, {"damaged": self._damaged})
        return count

    def _flush(self, batch: _Batch) -> int:
        cursor = self._cursor
        if batch.lines:
            name = self._fresh()
            cursor.pending = (name, batch.done)
            self._save()
            write_atomic(self._records / f"{name}.jsonl", b"".join(batch.lines), mode=0o640)
            _sync(self._records)
        if batch.done:
            cursor.done, cursor.pending = {**cursor.done, **batch.done}, None
            self._save()
        self._remove(batch.whole)
        return len(batch.lines)

    def _fresh(self) -> str:
        """A segment that is not there, whatever became of the cursor before this one."""
        while True:
            self._cursor.number += 1
            name = f"{self._hour}-{self._process}-{self._cursor.number}"
            if not self._there(name):
                return name

    def _there(self, segment: str) -> bool:
        return any((self._records / f"{segment}.{kind}").exists() for kind in ("jsonl", "parquet"))

    def _settled(self, cursor: Cursor) -> Cursor:
        """A segment that was named and is there was written; one that is not was not."""
        if cursor.pending is not None:
            name, done = cursor.pending
            if self._there(name):
                cursor.done |= done
            cursor.pending = None
        return cursor

    def _remove(self, objects: list[Held]) -> None:
        if not self._captures.keep:
            for held in objects:
                self._captures.remove(held)

    def _forget(self, listed: set[str], now: float) -> None:
        """What is not there any more, or not looked at, need not be known."""
        floor = time.strftime("%Y/%m/%d/%H", time.gmtime(now - KEPT_S)) if self._captures.keep else ""
        done = {name: place for name, place in self._cursor.done.items() if name in listed}
        if (done, max(floor, self._cursor.floor)) != (self._cursor.done, self._cursor.floor):
            self._cursor.done, self._cursor.floor = done, max(floor, self._cursor.floor)
            self._save()

    def _versions(self) -> dict[str, str]:
        """By what the platform calls them: those of the row, and every one that was registered."""
        known = [(str(row["version"]), str(row["bundle"])) for row in self._row.spec["versions"]]
        known += [(str(one.version), one.bundle) for one in self._store.registry.versions(self._row.spec["model"])]
        return {self._captures.served(version, bundle): version for version, bundle in known}

    def _tell(self, held: Held, line: int, passed: Passed) -> None:
        if passed.damage:
            self._damaged += 1
            log.log(logging.WARNING if self._damaged <= TOLD else logging.DEBUG, LEFT_OUT, held.name, line, passed.damage)

    def _save(self) -> None:
        write_atomic(self._place, json.dumps(asdict(self._cursor)).encode())


def _place(home: Home, row: Resource) -> Path:
    return home.folder / "outside" / f"captures-{row.name}.json"


def _read(place: Path) -> Cursor:
    """Raises PenstockError for a cursor that does not read: begun anew, requests would come twice."""
    try:
        value: Mapping[str, Any] = json.loads(place.read_bytes())
        pending = value["pending"]
        return Cursor(
            _places(value["done"]),
            str(value["floor"]),
            int(value["number"]),
            None if pending is None else (str(pending[0]), _places(pending[1])),
        )
    except FileNotFoundError:
        return Cursor()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PenstockError(
            f"{place} does not say how far was read ({error})", remedy="Remove it: captured objects that are still there are read again."
        ) from error


def _places(value: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    return {str(name): (int(size), int(lines)) for name, (size, lines) in value.items()}


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """False while another process, whose parent was just killed, is at it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    lock, mine = os.open(place.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), True
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mine = False
        yield mine
    finally:
        os.close(lock)


def _sync(folder: Path) -> None:
    """A power cut must not take back the name of a segment that the cursor counts on."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
