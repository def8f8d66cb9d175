"""What was live when: each change of a deployment's traffic, kept."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from penstock.core.clock import Clock
from penstock.store.database import Database
from penstock.store.schema import live as table

Share = tuple[int | str, str, float]  # (version, bundle digest, weight 0-1)


class LiveLog:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def record(self, deployment: str, versions: Sequence[Share], at: float | None) -> None:
        with self._database.begin() as connection:
            self._database.serialize(connection, f"live/{deployment}")
            if at is None:
                last = connection.execute(select(func.max(table.c.at)).where(table.c.deployment == deployment)).scalar()
                at = max(self._clock.now(), last or 0.0)  # a clock set back must not reorder history
            connection.execute(table.insert(), {"deployment": deployment, "at": at, "versions": [list(v) for v in versions]})

    def at(self, deployment: str, at: float) -> list[Share]:
        statement = select(table.c.versions).where(table.c.deployment == deployment, table.c.at <= at)
        with self._database.reading() as connection:
            found = connection.execute(statement.order_by(table.c.at.desc(), table.c.seq.desc()).limit(1)).scalar()
        return _shares(found or [])

    def history(self, deployment: str) -> list[tuple[float, list[Share]]]:
        statement = select(table.c.at, table.c.versions).where(table.c.deployment == deployment).order_by(table.c.at, table.c.seq)
        with self._database.reading() as connection:
            return [(row.at, _shares(row.versions)) for row in connection.execute(statement)]


def _shares(rows: list[list[int | str | float]]) -> list[Share]:
    return [(version, str(bundle), float(weight)) for version, bundle, weight in rows]  # type: ignore[misc]  # JSON keeps no tuple types
