"""Events: what happened to a resource and why, in order, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, insert, select

from penstock.core.clock import Clock
from penstock.store.database import Database
from penstock.store.schema import events as table


@dataclass(frozen=True, slots=True)
class Event:
    """`seq` grows with every event of the store; a reader goes on from the last it saw."""

    seq: int
    kind: str
    id: str
    at: float
    type: str
    message: str
    data: dict[str, Any] | None


_COLUMNS = [table.c[name] for name in Event.__slots__]
_ADD = insert(table)
_LIST = (
    select(*_COLUMNS)
    .where(table.c.kind == bindparam("b_kind"), table.c.id == bindparam("b_id"), table.c.seq > bindparam("b_since"))
    .order_by(table.c.seq)
    .limit(bindparam("b_limit"))
)


class Events:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def add(self, kind: str, id: str, type: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        row = {"kind": kind, "id": id, "at": self._clock.now(), "type": type, "message": _plain(message)}
        with self._database.begin() as connection:
            # Without this a reader could see event 8 of a resource, go on from it, and miss 7, committed later.
            self._database.serialize(connection, f"events/{kind}/{id}")
            connection.execute(_ADD, {**row, "data": None if data is None else dict(data)})

    def list(self, kind: str, id: str, *, since: int = 0, limit: int = 1000) -> list[Event]:
        """Oldest first, those with `seq` above `since`."""
        with self._database.reading() as connection:
            rows = connection.execute(_LIST, {"b_kind": kind, "b_id": id, "b_since": since, "b_limit": limit})
            return [Event(*row) for row in rows]

    def latest(self, kind: str, id: str, *, limit: int = 200) -> Sequence[Event]:
        """The last `limit`, oldest first."""
        statement = select(*_COLUMNS).where(table.c.kind == kind, table.c.id == id).order_by(table.c.seq.desc()).limit(limit)
        with self._database.reading() as connection:
            return [Event(*row) for row in connection.execute(statement)][::-1]


def _plain(message: str) -> str:
    """What a process prints may hold NUL and lone surrogates, which PostgreSQL refuses."""
    return message.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "backslashreplace").decode()
