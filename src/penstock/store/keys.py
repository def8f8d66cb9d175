"""Gateway keys: the secret is shown once, only its SHA-256 is kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import or_, select, update

from penstock.core.clock import Clock
from penstock.core.errors import NotFound
from penstock.core.ids import new_id
from penstock.store.database import Database
from penstock.store.schema import keys as table


@dataclass(frozen=True, slots=True)
class Key:
    """`sha256`: hex of the whole secret string."""

    id: str
    name: str
    sha256: str
    created_at: float
    revoked_at: float | None


_COLUMNS = [table.c[name] for name in Key.__slots__]


class Keys:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def create(self, name: str) -> tuple[Key, str]:
        """The key and its secret, `psk-` and 43 characters (256 bits). The secret cannot be read again."""
        secret, now = "psk-" + secrets.token_urlsafe(32), self._clock.now()
        key = Key(new_id("key", now), name, hashlib.sha256(secret.encode()).hexdigest(), now, None)
        with self._database.begin() as connection:
            connection.execute(table.insert(), {field: getattr(key, field) for field in Key.__slots__})
        return key, secret

    def list(self) -> list[Key]:
        """Oldest first, revoked ones too."""
        with self._database.reading() as connection:
            return [Key(*row) for row in connection.execute(select(*_COLUMNS).order_by(table.c.created_at, table.c.id))]

    def revoke(self, id_or_name: str) -> tuple[Key, ...]:
        """Every live key of that id or name. Raises NotFound when there is none."""
        live = or_(table.c.id == id_or_name, table.c.name == id_or_name) & table.c.revoked_at.is_(None)
        with self._database.begin() as connection:
            statement = update(table).where(live).values(revoked_at=self._clock.now()).returning(*_COLUMNS)
            revoked = tuple(Key(*row) for row in connection.execute(statement))
        if not revoked:
            raise NotFound(f"no key that works has the id or name {id_or_name!r}", remedy="List them with `penstock keys list`.")
        return revoked
