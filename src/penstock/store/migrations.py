"""Brings a database to the tables of this Penstock: makes them in an empty one, steps an older one forward, refuses the rest.

Each step runs in one transaction with its version number, so a crash in the middle leaves the older version whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, inspect, select, text

from penstock.core.errors import DatabaseVersion
from penstock.store import schema

_LOCK = 0x50454E53  # any constant known to all openers of one PostgreSQL database


@dataclass(frozen=True, slots=True)
class Migration:
    """From version `to - 1` to `to`."""

    to: int
    apply: Callable[[Connection], None]


def _terms_of_keys(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE keys ADD COLUMN terms TEXT")


def _signals(connection: Connection) -> None:
    schema.signals.create(connection)


MIGRATIONS: Sequence[Migration] = (Migration(2, _terms_of_keys), Migration(3, _signals))


def stored_version(connection: Connection) -> int | None:
    """Version of the tables in the database; None when it is empty. Raises DatabaseVersion when it is not Penstock's."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if schema.schema_version.name not in tables:
        shown = ", ".join(sorted(tables)[:5])
        raise DatabaseVersion(
            f"the database holds other tables ({shown}) and none of Penstock's: it is not a Penstock database",
            remedy="Point PENSTOCK_DATABASE at an empty database, or at one that Penstock made.",
        )
    version = connection.execute(select(func.max(schema.schema_version.c.version))).scalar()
    if version is None:
        raise DatabaseVersion(
            "the table penstock_schema is empty, so the database's version is unknown", remedy="Restore it from a backup."
        )
    return int(version)


def check(version: int) -> None:
    if version > schema.VERSION:
        raise DatabaseVersion(f"the database has version {version}, this Penstock knows up to {schema.VERSION}")


def migrate(connection: Connection) -> int:
    """Makes or steps forward, inside the caller's write transaction. Returns the version found before (0: it was empty)."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    found = stored_version(connection)
    if found is None:
        schema.metadata.create_all(connection)
        connection.execute(schema.audit_head.insert().values(id=1, seq=0, hash=""))
        connection.execute(schema.schema_version.insert().values(version=schema.VERSION))
        return 0
    check(found)
    for step in MIGRATIONS:
        if step.to > found:
            step.apply(connection)
            connection.execute(schema.schema_version.update().values(version=step.to))
    return found
