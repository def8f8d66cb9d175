"""Gateway keys: the secret is shown once, only its SHA-256 is kept; and on what terms a key may be used."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, Row, or_, select, update

from penstock.core.clock import Clock
from penstock.core.errors import BadInput, NotFound
from penstock.core.ids import new_id
from penstock.store.database import Database
from penstock.store.schema import keys as table

PERIODS, PRIORITIES = ("day", "month", "total"), ("low", "normal", "high")


@dataclass(frozen=True, slots=True)
class Terms:
    """None: no limit. `models` empty: all. A budget is for each UTC day or month, or for ever (total); low priority is shed first.

    `training` false: nothing that is asked with the key is trained on.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    concurrency: int | None = None
    budget_usd: float | None = None
    budget_period: str = "month"
    priority: str = "normal"
    models: tuple[str, ...] = ()
    training: bool = True

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "concurrency"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadInput(f"{name} must be more than 0, not {value:g}", remedy="Revoke a key that should do nothing.")
        if self.budget_usd is not None and not self.budget_usd >= 0:
            raise BadInput(f"budget_usd must not be negative: {self.budget_usd:g}")
        for name, known in (("budget_period", PERIODS), ("priority", PRIORITIES)):
            if getattr(self, name) not in known:
                raise BadInput(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")

    def told(self) -> dict[str, Any]:
        """What differs from a key without terms, as JSON values."""
        return {name: value for name, value in asdict(self).items() if value != getattr(_FREE, name)}


_FREE = Terms()


@dataclass(frozen=True, slots=True)
class Key:
    """`sha256`: hex of the whole secret string."""

    id: str
    name: str
    sha256: str
    created_at: float
    revoked_at: float | None
    terms: Terms = _FREE


_COLUMNS = [table.c[name] for name in Key.__slots__]


class Keys:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def create(self, name: str, terms: Terms = _FREE) -> tuple[Key, str]:
        """The key and its secret, `psk-` and 43 characters (256 bits). The secret cannot be read again."""
        secret, now = "psk-" + secrets.token_urlsafe(32), self._clock.now()
        key = Key(new_id("key", now), name, hashlib.sha256(secret.encode()).hexdigest(), now, None, terms)
        with self._database.begin() as connection:
            connection.execute(table.insert(), {**{field: getattr(key, field) for field in Key.__slots__}, "terms": terms.told()})
        return key, secret

    def list(self) -> list[Key]:
        """Oldest first, revoked ones too."""
        with self._database.reading() as connection:
            return [_key(row) for row in connection.execute(select(*_COLUMNS).order_by(table.c.created_at, table.c.id))]

    def revoke(self, id_or_name: str) -> tuple[Key, ...]:
        """Every live key of that id or name. Raises NotFound when there is none."""
        with self._database.begin() as connection:
            statement = update(table).where(_live(id_or_name)).values(revoked_at=self._clock.now()).returning(*_COLUMNS)
            return _found(id_or_name, [_key(row) for row in connection.execute(statement)])

    def limit(self, id_or_name: str, changes: Mapping[str, Any]) -> tuple[Key, ...]:
        """Changes terms, by the names of Terms, of every live key of that id or name. Raises NotFound, BadInput."""
        with self._database.begin() as connection:
            self._database.serialize(connection, "keys")
            found = _found(id_or_name, [_key(row) for row in connection.execute(select(*_COLUMNS).where(_live(id_or_name)))])
            changed = tuple(replace(key, terms=replace(key.terms, **changes)) for key in found)
            for key in changed:
                connection.execute(update(table).where(table.c.id == key.id).values(terms=key.terms.told()))
        return changed


def _live(id_or_name: str) -> ColumnElement[bool]:
    return or_(table.c.id == id_or_name, table.c.name == id_or_name) & table.c.revoked_at.is_(None)


def _key(row: Row[Any]) -> Key:
    told = {name: value for name, value in (row.terms or {}).items() if name in _NAMES}
    terms = Terms(**{**told, "models": tuple(told.get("models", ()))})
    return Key(row.id, row.name, row.sha256, row.created_at, row.revoked_at, terms)


_NAMES = {each.name for each in fields(Terms)}


def _found(id_or_name: str, keys: list[Key]) -> tuple[Key, ...]:
    if not keys:
        raise NotFound(f"no key that works has the id or name {id_or_name!r}", remedy="List them with `penstock keys list`.")
    return tuple(keys)
