"""Builds: which outputs a key has, first writer wins; and who is making a key now (a claim)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from penstock.core.clock import Clock
from penstock.store import leases, owners
from penstock.store.database import Database
from penstock.store.schema import builds as table
from penstock.store.schema import claims

_READ_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Build:
    """What running a step once gave. `outputs`: name → artifact digest; `parts`: what the key was made of; `seconds`: of work."""

    key: str
    pipeline: str
    step: str
    stage: str
    outputs: Mapping[str, str]
    metrics: Mapping[str, float]
    parts: Mapping[str, Any]
    seconds: float
    run: str
    created_at: float


_FIELDS = Build.__slots__
_COLUMNS = [table.c[name] for name in _FIELDS]
_VALID = table.c.invalid_at.is_(None)
_GET = select(*_COLUMNS).where(table.c.key == bindparam("b_key"), _VALID)
_GET_MANY = select(*_COLUMNS).where(table.c.key.in_(bindparam("b_keys", expanding=True)), _VALID)


class Builds:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        insert = database.insert(table)
        fresh = {name: insert.excluded[name] for name in _FIELDS if name != "key"} | {"invalid_at": None, "invalid_why": None}
        # Only an invalidated row may be written over: a valid one stays as its first writer left it.
        self._record = insert.on_conflict_do_update(index_elements=["key"], set_=fresh, where=~_VALID).returning(table.c.key)
        held = leases.held(database.dialect)
        claim = database.insert(claims).values(key=bindparam("b_key"), **held)
        free = leases.ended(claims, database.dialect) | (claims.c.owner == bindparam("b_owner"))
        self._claim = claim.on_conflict_do_update(index_elements=["key"], set_=held, where=free).returning(claims.c.owner)
        mine = (claims.c.key == bindparam("b_key")) & (claims.c.owner == bindparam("b_owner"))
        self._renew = update(claims).where(mine).values(held)
        self._unclaim = delete(claims).where(mine)
        self._steal = update(claims).where(claims.c.key == bindparam("b_key"), claims.c.owner == bindparam("b_dead")).values(held)
        self._claimant = select(claims.c.owner).where(claims.c.key == bindparam("b_key"), ~leases.ended(claims, database.dialect))

    def get(self, key: str) -> Build | None:
        with self._database.reading() as connection:
            row = connection.execute(_GET, {"b_key": key}).one_or_none()
        return None if row is None else Build(*row)

    def get_many(self, keys: Iterable[str]) -> dict[str, Build]:
        """Those that are there."""
        wanted, found = list(dict.fromkeys(keys)), {}
        with self._database.reading() as connection:
            for start in range(0, len(wanted), _READ_AT_ONCE):
                for row in connection.execute(_GET_MANY, {"b_keys": wanted[start : start + _READ_AT_ONCE]}):
                    found[row.key] = Build(*row)
        return found

    def latest(self, pipeline: str, step: str) -> Build | None:
        """The newest of a step, whatever its key."""
        newest = select(*_COLUMNS).where(table.c.pipeline == pipeline, table.c.step == step, _VALID).order_by(table.c.created_at.desc())
        with self._database.reading() as connection:
            row = connection.execute(newest.limit(1)).one_or_none()
        return None if row is None else Build(*row)

    def record(self, build: Build) -> Build:
        """Writes it unless the key has a valid build already; returns the one that stands."""
        values = {name: getattr(build, name) for name in _FIELDS}
        with self._database.begin() as connection:
            if connection.execute(self._record, values).one_or_none() is not None:
                return build
            return Build(*connection.execute(_GET, {"b_key": build.key}).one())

    def invalidate(self, key: str, reason: str) -> None:
        """The step runs again; the row keeps the reason until then."""
        statement = update(table).where(table.c.key == key, _VALID).values(invalid_at=self._clock.now(), invalid_why=reason)
        with self._database.begin() as connection:
            connection.execute(statement)

    def claim(self, key: str, owner: str, lease_s: float) -> bool:
        """True when `owner` may make the key until the lease ends; also when it had claimed it already."""
        values = self._bound(key, owner, lease_s)
        with self._database.begin() as connection:
            if connection.execute(self._claim, values).one_or_none() is not None:
                return True
            holder = connection.execute(select(claims.c.owner).where(claims.c.key == key)).scalar()
            if holder is None or owners.alive(holder) is not False:
                return False
            return bool(connection.execute(self._steal, {**values, "b_dead": holder}).rowcount)

    def renew(self, key: str, owner: str, lease_s: float) -> bool:
        """False when the claim passed to somebody else."""
        with self._database.begin() as connection:
            return bool(connection.execute(self._renew, self._bound(key, owner, lease_s)).rowcount)

    def unclaim(self, key: str, owner: str) -> None:
        with self._database.begin() as connection:
            connection.execute(self._unclaim, {"b_key": key, "b_owner": owner})

    def claimant(self, key: str) -> str | None:
        """Who may be making the key now; None when nobody, or when its process is gone."""
        with self._database.reading() as connection:
            holder = connection.execute(self._claimant, self._bound(key, "", 0.0)).scalar()
        return None if holder is None or owners.alive(holder) is False else holder

    def durations(self, stage: str, step: str, limit: int = 20) -> list[float]:
        """Seconds of the newest builds of a step, newest first."""
        statement = select(table.c.seconds).where(table.c.stage == stage, table.c.step == step, _VALID)
        with self._database.reading() as connection:
            return list(connection.execute(statement.order_by(table.c.created_at.desc()).limit(limit)).scalars())

    def _bound(self, key: str, owner: str, lease_s: float) -> dict[str, Any]:
        return {**leases.bound(self._database.dialect, self._clock, owner, lease_s), "b_key": key}
