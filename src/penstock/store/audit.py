"""The audit log: rows chained by hash, and the chain's head kept beside, so that a change, a gap or a cut tail shows.

Not covered: somebody who can write the database and recomputes the whole chain and its head. Keep `head()` elsewhere and give
it to `verify` to detect that too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, update

from penstock.core.clock import Clock
from penstock.core.digests import canonical, digest_bytes
from penstock.core.errors import AuditBroken
from penstock.store.database import Database
from penstock.store.schema import audit as table
from penstock.store.schema import audit_head

_READ_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """`previous` and `hash` chain it to the entry before."""

    seq: int
    at: float
    principal: str
    action: str
    subject: str
    detail: dict[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry. Kept outside, it proves that nothing up to it was rewritten."""

    seq: int
    hash: str


def _hash(seq: int, at: float, said: tuple[str, str, str], detail: str, previous: str) -> str:
    return digest_bytes(canonical([seq, at, *said, detail, previous]))


class Audit:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def append(self, principal: str, action: str, subject: str, detail: Mapping[str, Any]) -> Entry:
        """`principal` did `action` to `subject`; `detail` holds JSON values, never secrets."""
        text, said = canonical(dict(detail)).decode(), (principal, action, subject)
        with self._database.begin() as connection:
            head = connection.execute(
                select(audit_head.c.seq, audit_head.c.hash).where(audit_head.c.id == 1).with_for_update()
            ).one_or_none()
            if head is None:
                raise AuditBroken("the head of the audit log is missing", where="head")
            seq, at = head.seq + 1, self._clock.now()
            entry = Entry(seq, at, *said, json.loads(text), head.hash, _hash(seq, at, said, text, head.hash))
            row = {name: getattr(entry, name) for name in Entry.__slots__} | {"detail": text}
            connection.execute(table.insert(), row)
            connection.execute(update(audit_head).where(audit_head.c.id == 1), {"seq": seq, "hash": entry.hash})
        return entry

    def verify(self, known: Head | None = None) -> int:
        """Number of entries. Raises AuditBroken naming the first bad row. `known`: a head that was kept elsewhere."""
        previous, expected = "", 1
        with self._database.begin() as connection:  # one state: an append between the rows and the head would look like a cut
            head = connection.execute(select(audit_head.c.seq, audit_head.c.hash)).one_or_none()
            for row in self._rows(connection):
                _check(row, expected, previous)
                if known is not None and known.seq == row.seq and known.hash != row.hash:
                    raise AuditBroken(f"audit row {row.seq} is not the one that was known: the log was rewritten", where=f"row {row.seq}")
                previous, expected = row.hash, expected + 1
        count = expected - 1
        if known is not None and known.seq > count:
            raise AuditBroken(f"audit row {count + 1} is missing: the log was known to reach {known.seq}", where=f"row {count + 1}")
        if head is None:
            raise AuditBroken("the head of the audit log is missing", where="head")
        if head.seq > count:
            raise AuditBroken(f"audit row {count + 1} is missing: the log was cut, its head is row {head.seq}", where=f"row {count + 1}")
        if head.seq != count or head.hash != previous:
            raise AuditBroken(f"audit row {count} is not the head that was stored (row {head.seq})", where=f"row {count}")
        return count

    def list(self, *, since: int = 0, limit: int = 1000) -> list[Entry]:
        """Oldest first, those with `seq` above `since`."""
        with self._database.reading() as connection:
            rows = connection.execute(select(table).where(table.c.seq > since).order_by(table.c.seq).limit(limit))
            return [_entry(row) for row in rows]

    def all(self) -> Iterator[Entry]:
        """Every entry, oldest first, read as it is asked for."""
        with self._database.reading() as connection:
            for row in self._rows(connection):
                yield _entry(row)

    def head(self) -> Head:
        with self._database.reading() as connection:
            return Head(*connection.execute(select(audit_head.c.seq, audit_head.c.hash)).one())

    def _rows(self, connection: Any) -> Iterator[Row[Any]]:
        since = None
        while True:
            statement = select(table).order_by(table.c.seq).limit(_READ_AT_ONCE)
            rows = connection.execute(statement if since is None else statement.where(table.c.seq > since)).all()
            yield from rows
            if len(rows) < _READ_AT_ONCE:
                return
            since = rows[-1].seq


def _check(row: Row[Any], expected: int, previous: str) -> None:
    if row.seq != expected:
        raise AuditBroken(f"audit row {expected} is missing (the next one is {row.seq})", where=f"row {expected}")
    if row.previous != previous:
        raise AuditBroken(f"audit row {row.seq} does not follow the row before it", where=f"row {row.seq}")
    if row.hash != _hash(row.seq, row.at, (row.principal, row.action, row.subject), row.detail, row.previous):
        raise AuditBroken(f"audit row {row.seq} was changed after it was written", where=f"row {row.seq}")


def _entry(row: Row[Any]) -> Entry:
    return Entry(row.seq, row.at, row.principal, row.action, row.subject, json.loads(row.detail), row.previous, row.hash)
