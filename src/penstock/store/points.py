"""Metric points, appended in batches. One point per (run, step, name, at_step): a resumed step writes over, never twice."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import delete, select

from penstock.store.database import Database
from penstock.store.schema import points as table


@dataclass(frozen=True, slots=True)
class Point:
    """`at_step`: the training step or whatever the curve counts; `at`: seconds since the epoch."""

    run: str
    step: str
    name: str
    at_step: int
    value: float
    at: float


_COLUMNS = [table.c[name] for name in Point.__slots__]
_INSERT = "INSERT INTO points (run, step, name, at_step, value, at) "
_MERGE = " ON CONFLICT (run, step, name, at_step) DO UPDATE SET value = excluded.value, at = excluded.at"
_SQLITE = _INSERT + "VALUES (?, ?, ?, ?, ?, ?)" + _MERGE
_TYPES = ("text", "text", "text", "bigint", "double precision", "double precision")
_POSTGRES = _INSERT + "SELECT * FROM unnest(" + ", ".join(f"%s::{kind}[]" for kind in _TYPES) + ")" + _MERGE


class Points:
    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, points: Iterable[Point]) -> None:
        """One statement and one transaction for all of them."""
        rows = [(p.run, p.step, p.name, p.at_step, None if math.isnan(p.value) else p.value, p.at) for p in points]
        if not rows:
            return
        with self._database.begin() as connection:
            if self._database.dialect == "postgresql":
                newest = list({row[:4]: row for row in rows}.values())  # one statement may not touch a row twice
                connection.exec_driver_sql(_POSTGRES, tuple(list(column) for column in zip(*newest, strict=True)))
            else:
                connection.exec_driver_sql(_SQLITE, rows)

    def read(self, run: str, step: str | None = None, name: str | None = None) -> list[Point]:
        """By step, name and at_step. A missing value (stored NaN) comes back as NaN."""
        statement = select(*_COLUMNS).where(table.c.run == run).order_by(table.c.step, table.c.name, table.c.at_step)
        if step is not None:
            statement = statement.where(table.c.step == step)
        if name is not None:
            statement = statement.where(table.c.name == name)
        with self._database.reading() as connection:
            rows = connection.execute(statement).all()
        return [Point(r.run, r.step, r.name, r.at_step, math.nan if r.value is None else r.value, r.at) for r in rows]

    def forget(self, run: str, step: str, *, before_step: int) -> None:
        """Removes points of the step whose at_step is lower."""
        with self._database.begin() as connection:
            connection.execute(delete(table).where(table.c.run == run, table.c.step == step, table.c.at_step < before_step))
