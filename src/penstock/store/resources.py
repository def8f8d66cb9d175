"""Resources: what is wanted (spec), what is seen (status), when to look again, and who is looking (a lease)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, case, func, select, update

from penstock.core.clock import Clock
from penstock.core.errors import Conflict, NotFound
from penstock.core.ids import new_id
from penstock.store import leases, owners
from penstock.store.database import Database
from penstock.store.schema import resources as table

_NOW = object()
_KEEP = object()
_CLOCK_SKEW_S = 60.0  # hosts that share a PostgreSQL differ by less


@dataclass(frozen=True, slots=True)
class Resource:
    """`due_at`: when a reconciler should look (None: never). `owner`: who last leased it; the lease may have ended."""

    kind: str
    id: str
    name: str
    spec: dict[str, Any]
    status: dict[str, Any]
    phase: str
    generation: int
    created_at: float
    updated_at: float
    due_at: float | None
    owner: str | None


_COLUMNS = [table.c[name] for name in Resource.__slots__]
_HERE = (table.c.kind == bindparam("b_kind")) & (table.c.id == bindparam("b_id"))


def _resource(row: Any) -> Resource:
    return Resource(*row)


class Resources:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._ended = leases.ended(table, database.dialect)
        self._mine = _HERE & (table.c.owner == bindparam("b_owner"))
        self._get = select(*_COLUMNS).where(_HERE)
        taken = {**leases.held(database.dialect), "wakes_seen": table.c.wakes}
        self._take = update(table).where(_HERE, self._ended | (table.c.owner == bindparam("b_owner"))).values(taken)
        self._renew = update(table).where(self._mine).values(leases.held(database.dialect))
        self._steal = update(table).where(_HERE, table.c.owner == bindparam("b_dead")).values(taken).returning(*_COLUMNS)
        written = {
            "status": bindparam("b_status", type_=table.c.status.type),
            "phase": bindparam("b_phase"),
            "updated_at": bindparam("b_now"),
        }
        due = _due(bindparam("b_due", type_=table.c.due_at.type))
        self._save = update(table).where(self._mine).values({**written, "due_at": due})
        self._release = update(table).where(self._mine).values(leases.FREED)
        self._release_due = update(table).where(self._mine).values({**leases.FREED, "due_at": due})
        self._create = database.insert(table).on_conflict_do_nothing(index_elements=["kind", "id"]).returning(table.c.id)
        self._lease, self._dead = _leasing(database.dialect)

    def create(
        self,
        kind: str,
        name: str,
        spec: Mapping[str, Any],
        *,
        id: str | None = None,
        phase: str = "pending",
        status: Mapping[str, Any] | None = None,
        due_at: Any = _NOW,
    ) -> Resource:
        """Due at once unless told. Raises Conflict when the id is taken."""
        now = self._clock.now()
        due = now if due_at is _NOW else due_at
        made = Resource(kind, id or new_id(kind, now), name, dict(spec), dict(status or {}), phase, 1, now, now, due, None)
        values = {field: getattr(made, field) for field in Resource.__slots__}
        with self._database.begin() as connection:
            written = connection.execute(self._create, {**values, "wakes": 0, "wakes_seen": 0})
            if written.one_or_none() is None:
                raise Conflict(f"{kind} {made.id!r} exists already")
        return made

    def get(self, kind: str, id: str) -> Resource:
        """Raises NotFound."""
        with self._database.reading() as connection:
            row = connection.execute(self._get, {"b_kind": kind, "b_id": id}).one_or_none()
        if row is None:
            raise NotFound(f"no {kind} has the id {id!r}")
        return _resource(row)

    def find(self, kind: str, name: str) -> Resource | None:
        """The newest of that name."""
        found = self.list(kind, name=name, limit=1)
        return found[0] if found else None

    def list(self, kind: str, *, name: str | None = None, phase: str | None = None, limit: int = 100) -> list[Resource]:
        """Newest first."""
        statement = select(*_COLUMNS).where(table.c.kind == kind).order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
        if name is not None:
            statement = statement.where(table.c.name == name)
        if phase is not None:
            statement = statement.where(table.c.phase == phase)
        with self._database.reading() as connection:
            return [_resource(row) for row in connection.execute(statement)]

    def set_spec(self, kind: str, id: str, spec: Mapping[str, Any]) -> Resource:
        """A new generation, due now, even while somebody works on the old one. Raises NotFound."""
        return self._change(kind, id, {"spec": dict(spec), "generation": table.c.generation + 1})

    def wake(self, kind: str, id: str, due_at: float | None = None) -> Resource:
        """Due now, or at `due_at`; not forgotten when its present owner saves. Raises NotFound."""
        return self._change(kind, id, {}, due_at)

    def delete(self, kind: str, id: str) -> None:
        """Its events stay."""
        with self._database.begin() as connection:
            connection.execute(table.delete().where(table.c.kind == kind, table.c.id == id))

    def lease(self, kinds: Sequence[str], owner: str, lease_s: float) -> Resource | None:
        """The longest due row of `kinds` that nobody holds, now held by `owner` for `lease_s`; None when there is none."""
        values = {**self._bound(owner, lease_s), "b_kinds": list(kinds), "b_now": self._clock.now()}
        with self._database.begin() as connection:
            row = connection.execute(self._lease, values).one_or_none()
            if row is not None:
                return _resource(row)
            for kind, id, holder in connection.execute(self._dead, {**values, "b_host": owners.host() + ":"}).all():
                if owners.alive(holder) is False:
                    row = connection.execute(self._steal, {**values, "b_kind": kind, "b_id": id, "b_dead": holder}).one_or_none()
                    if row is not None:
                        return _resource(row)
        return None

    def take(self, kind: str, id: str, owner: str, lease_s: float) -> bool:
        """Holds one row, due or not; True also when `owner` holds it already."""
        values = {**self._bound(owner, lease_s), "b_kind": kind, "b_id": id}
        with self._database.begin() as connection:
            if connection.execute(self._take, values).rowcount:
                return True
            holder = connection.execute(select(table.c.owner).where(_HERE), values).scalar()
            if holder is None or owners.alive(holder) is not False:
                return False
            return connection.execute(self._steal, {**values, "b_dead": holder}).one_or_none() is not None

    def renew(self, kind: str, id: str, owner: str, lease_s: float) -> bool:
        """False when somebody else took it over."""
        with self._database.begin() as connection:
            return bool(connection.execute(self._renew, {**self._bound(owner, lease_s), "b_kind": kind, "b_id": id}).rowcount)

    def save(self, kind: str, id: str, owner: str, *, status: Mapping[str, Any], phase: str, due_at: float | None) -> None:
        """Raises Conflict when `owner` no longer holds the lease. A change of spec since the lease keeps the row due."""
        now = self._clock.now()
        bound = {"b_kind": kind, "b_id": id, "b_owner": owner, "b_status": dict(status), "b_phase": phase, "b_now": now, "b_due": due_at}
        with self._database.begin() as connection:
            written = connection.execute(self._save, bound).rowcount
        if not written:
            raise Conflict(f"{kind} {id!r} is no longer held by {owner}")

    def release(self, kind: str, id: str, owner: str, due_at: Any = _KEEP) -> None:
        """Lets go; nothing happens when somebody else holds it by now."""
        bound = {"b_kind": kind, "b_id": id, "b_owner": owner}
        with self._database.begin() as connection:
            if due_at is _KEEP:
                connection.execute(self._release, bound)
            else:
                connection.execute(self._release_due, {**bound, "b_due": due_at})

    def _bound(self, owner: str, lease_s: float) -> dict[str, Any]:
        return leases.bound(self._database.dialect, self._clock, owner, lease_s)

    def _change(self, kind: str, id: str, values: dict[str, Any], due_at: float | None = None) -> Resource:
        now = self._clock.now()
        changes = {**values, "wakes": table.c.wakes + 1, "updated_at": now, "due_at": now if due_at is None else due_at}
        statement = update(table).where(table.c.kind == kind, table.c.id == id).values(changes).returning(*_COLUMNS)
        with self._database.begin() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise NotFound(f"no {kind} has the id {id!r}")
        return _resource(row)


def _leasing(dialect: str) -> tuple[Any, Any]:
    """Two statements: take the longest due free row; list due rows that a process of this host holds."""
    inner = table.alias("due")
    now = bindparam("b_now", type_=table.c.due_at.type)
    # A row written in the future says that the clock was set back: looking early is harmless, waiting for it is not.
    time_has_come = (inner.c.due_at <= now) | (inner.c.due_at.is_not(None) & (inner.c.updated_at > now + _CLOCK_SKEW_S))
    due = inner.c.kind.in_(bindparam("b_kinds", expanding=True)) & time_has_come
    pick = select(inner.c.kind, inner.c.id).where(due, leases.ended(inner, dialect)).order_by(inner.c.due_at)
    chosen = pick.limit(1).with_for_update(skip_locked=True).cte("chosen")
    taken = {**leases.held(dialect), "wakes_seen": table.c.wakes}
    here = (table.c.kind == select(chosen.c.kind).scalar_subquery()) & (table.c.id == select(chosen.c.id).scalar_subquery())
    take = update(table).where(here).values(taken).returning(*_COLUMNS)
    own = func.substr(inner.c.owner, 1, func.length(bindparam("b_host"))) == bindparam("b_host")
    dead = select(inner.c.kind, inner.c.id, inner.c.owner).where(due, own, inner.c.owner != bindparam("b_owner"))
    return take, dead.order_by(inner.c.due_at).limit(100)


def _due(wanted: Any) -> Any:
    """What was woken since the lease was taken stays due; otherwise as `wanted`."""
    return case((table.c.wakes != table.c.wakes_seen, table.c.due_at), else_=wanted)
