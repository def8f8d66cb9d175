"""The tables, defined once for SQLite and PostgreSQL.

Times are seconds since the epoch. A lease ends by the database's clock on PostgreSQL and by the host's steady clock on SQLite
(`lease_boot` says of which boot); `lease_wall` is the wall time kept for a row that another boot wrote. See leases.py.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

VERSION = 3


def _decoded(value: str) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return json.loads(value)  # NaN, infinities and integers beyond 64 bits, which are rare and slow


class Json(TypeDecorator[Any]):
    """JSON as text, the same on both databases; NaN and infinities survive, and no byte in it can upset PostgreSQL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002  the base class names it
        return None if value is None else json.dumps(value, separators=(",", ":"), sort_keys=True)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002  the base class names it
        return None if value is None else _decoded(value)


@functools.lru_cache(maxsize=64)
def _decoded_once(value: str) -> Any:
    return _decoded(value)


class SpecJson(Json):
    """JSON that is read far more often than written: equal text gives the same object again. Readers must not change it in place."""

    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002  the base class names it
        return None if value is None else _decoded_once(value)


metadata = MetaData()
_Serial = BigInteger().with_variant(Integer(), "sqlite")


def _lease() -> list[Column[Any]]:
    return [Column("owner", Text), Column("lease_until", Double), Column("lease_wall", Double), Column("lease_boot", Text)]


schema_version = Table("penstock_schema", metadata, Column("version", Integer, nullable=False))

resources = Table(
    "resources",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("spec", SpecJson, nullable=False),
    Column("status", Json, nullable=False),
    Column("phase", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("due_at", Double),
    Column("wakes", Integer, nullable=False),
    Column("wakes_seen", Integer, nullable=False),
    *_lease(),
    Index("resources_due", "kind", "due_at"),
    Index("resources_name", "kind", "name", "created_at"),
)

events = Table(
    "events",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("type", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", Json),
    Index("events_resource", "kind", "id", "seq"),
)

builds = Table(
    "builds",
    metadata,
    Column("key", Text, primary_key=True),
    Column("pipeline", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("outputs", Json, nullable=False),
    Column("metrics", Json, nullable=False),
    Column("parts", Json, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("run", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("invalid_at", Double),
    Column("invalid_why", Text),
    Index("builds_step", "pipeline", "step", "created_at"),
    Index("builds_stage", "stage", "step", "created_at"),
)

claims = Table("claims", metadata, Column("key", Text, primary_key=True), *_lease())

model_versions = Table(
    "model_versions",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("bundle", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("metrics", Json, nullable=False),
    Column("gates", Json, nullable=False),
    Column("facts", Json, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("model", "bundle", name="model_versions_bundle"),
)

alias_changes = Table(
    "alias_changes",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("model", Text, nullable=False),
    Column("alias", Text, nullable=False),
    Column("version", Integer),
    Column("principal", Text, nullable=False),
    Column("at", Double, nullable=False),
    Index("alias_changes_alias", "model", "alias", "seq"),
)

live = Table(
    "live",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("deployment", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("versions", Json, nullable=False),
    Index("live_deployment", "deployment", "at"),
)

points = Table(
    "points",
    metadata,
    Column("run", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("at_step", _Serial, primary_key=True, autoincrement=False),
    Column("value", Double),
    Column("at", Double, nullable=False),
    sqlite_with_rowid=False,
)

signals = Table(
    "signals",
    metadata,
    Column("deployment", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("part", Text, primary_key=True),
    Column("at", Double, primary_key=True),
    Column("value", Double, nullable=False),
    Column("measured_on", Double, nullable=False),
    Column("own_limit", Double),
    Column("interval_low", Double),
    Column("interval_high", Double),
    Column("evidence", Json, nullable=False),
    Index("signals_time", "deployment", "at"),
    sqlite_with_rowid=False,
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("terms", Json),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("principal", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", _Serial, nullable=False),
    Column("hash", Text, nullable=False),
)
