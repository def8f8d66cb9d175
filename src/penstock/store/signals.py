"""Signals: numbers measured over windows of a deployment's requests, appended in batches. One per (deployment, name, version, slice, at):
a window that is measured again writes over, never twice.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, select, tuple_

from penstock.store.database import Database
from penstock.store.schema import signals as table


@dataclass(frozen=True, slots=True)
class Signal:
    """`at`: end of the window, seconds since the epoch. `count`: what it was measured on (requests, labels, samples).

    `version` and `slice` (such as `channel=web`) are empty for the whole deployment. `limit`: its own limit, if it has one; `low` and
    `high`: an interval of the true value, where that is known. `evidence`: JSON values that say why (words that moved, ids of requests).
    """

    deployment: str
    name: str
    at: float
    value: float
    count: float = 0.0
    version: str = ""
    slice: str = ""
    limit: float | None = None
    low: float | None = None
    high: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, str, str]:
        """What it is a signal of, within its deployment: name, version, slice."""
        return self.name, self.version, self.slice

    @property
    def over(self) -> bool:
        """Whether it is over its own limit."""
        return self.limit is not None and self.value > self.limit


_NAMES = {"limit": "own_limit", "low": "interval_low", "high": "interval_high", "count": "measured_on", "slice": "part"}
_COLUMNS = [table.c[_NAMES.get(name, name)] for name in Signal.__slots__]
_PLACE = ("deployment", "name", "version", "part", "at")


class Signals:
    def __init__(self, database: Database) -> None:
        self._database = database
        insert = database.insert(table)
        fresh = {column.name: insert.excluded[column.name] for column in table.c if column.name not in _PLACE}
        self._append = insert.on_conflict_do_update(index_elements=list(_PLACE), set_=fresh)

    def append(self, signals: Iterable[Signal]) -> None:
        """All of them in one transaction. Values that are not finite are left out: nothing was measured."""
        newest = {(s.deployment, *s.place, s.at): s for s in signals if math.isfinite(s.value)}
        rows = [{_NAMES.get(name, name): _plain(getattr(s, name)) for name in Signal.__slots__} for s in newest.values()]
        if rows:
            with self._database.begin() as connection:
                connection.execute(self._append, rows)

    def read(
        self,
        deployment: str,
        *,
        name: str | Collection[str] | None = None,
        since: float = -math.inf,
        until: float = math.inf,
        whole: bool = False,
        limited: bool = False,
    ) -> list[Signal]:
        """Those with since < at ≤ until, oldest first; of one instant by name, version and slice.

        `name`: only of that, or of those. `whole`: only of the whole deployment, which is fast over long spans. `limited`: only with a
        limit of their own.
        """
        statement = select(*_COLUMNS).where(table.c.deployment == deployment)
        if since > -math.inf:
            statement = statement.where(table.c.at > since)
        if until < math.inf:
            statement = statement.where(table.c.at <= until)
        if name is not None:
            statement = statement.where(table.c.name == name if isinstance(name, str) else table.c.name.in_(sorted(name)))
        if whole:
            statement = statement.where(table.c.version == "", table.c.part == "")
        if limited:
            statement = statement.where(table.c.own_limit.is_not(None))
        with self._database.reading() as connection:
            rows = connection.execute(statement.order_by(table.c.at, table.c.name, table.c.version, table.c.part))
            return [Signal(*row) for row in rows]

    def latest(self, deployment: str, *, until: float = math.inf) -> list[Signal]:
        """The newest of each name, version and slice."""
        place = [table.c.name, table.c.version, table.c.part]
        newest = select(*place, func.max(table.c.at)).where(table.c.deployment == deployment).group_by(*place)
        if until < math.inf:
            newest = newest.where(table.c.at <= until)
        statement = select(*_COLUMNS).where(table.c.deployment == deployment, tuple_(*place, table.c.at).in_(newest))
        with self._database.reading() as connection:
            return [Signal(*row) for row in connection.execute(statement.order_by(*place))]

    def newest(self, deployment: str) -> float | None:
        """`at` of the newest, of whatever name; None when there is none."""
        with self._database.reading() as connection:
            found: float | None = connection.execute(select(func.max(table.c.at)).where(table.c.deployment == deployment)).scalar()
            return found

    def forget(self, deployment: str, before: float) -> int:
        """Removes those with `at` below; returns how many."""
        with self._database.begin() as connection:
            statement = delete(table).where(table.c.deployment == deployment, table.c.at < before)
            return int(connection.execute(statement).rowcount)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
