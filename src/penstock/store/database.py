"""One database behind one URL: SQLite file, SQLite in memory, or PostgreSQL; transactions that nested calls join.

Writes begin with BEGIN IMMEDIATE on SQLite (no upgrade deadlocks), one at a time in a process. WAL with synchronous=NORMAL: a
killed process loses nothing; a power cut may lose the last commits, never the file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import StaticPool

from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import BadInput, DatabaseUnavailable, DatabaseVersion, DiskFull, ExtraMissing, PenstockError, ReadOnly
from penstock.core.files import told_plainly
from penstock.store import migrations, schema

BUSY_TIMEOUT_S = 30.0


class Database:
    """`url`: `sqlite:///path`, `sqlite://` (memory), `postgresql://…`. Opening makes or migrates the tables."""

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.url = _checked(url)
        self.dialect = self.url.get_backend_name()
        self.shown = self.url.render_as_string(hide_password=True)
        self._here = threading.local()
        self._writer = threading.RLock()
        self._shared = self.dialect == "sqlite" and not self.url.database
        self.engine = self._engine()
        try:
            self._open()
        except BaseException:
            self.engine.dispose()
            raise

    def _engine(self) -> Engine:
        try:
            if self.dialect == "postgresql":
                return create_engine(self.url, pool_pre_ping=True, pool_size=4, max_overflow=28)
            if self.url.database:
                folder = Path(self.url.database).parent
                with told_plainly(folder):
                    folder.mkdir(parents=True, exist_ok=True)
            arguments: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
            pool: dict[str, Any] = {"poolclass": StaticPool} if self._shared else {"pool_size": 4, "max_overflow": 60}
            engine = create_engine(self.url, connect_args=arguments, **pool)
        except ModuleNotFoundError as error:
            message = f"{self.shown} needs {error.name}, which is not installed"
            raise ExtraMissing(message, remedy="Run: pip install 'penstock[postgres]'") from error
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _open(self) -> None:
        with self.reading() as connection:
            found = migrations.stored_version(connection)
        if found is not None:
            migrations.check(found)
        if found != schema.VERSION:
            if self.dialect == "sqlite" and not self._shared:
                self._use_wal()
            with self.begin() as connection:
                migrations.migrate(connection)

    def _use_wal(self) -> None:
        """Kept in the file, so once is enough; a second process that opens at the same moment waits its turn."""
        deadline = self.clock.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                with self.reading() as connection:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                return
            except DatabaseUnavailable:
                if self.clock.monotonic() > deadline:
                    raise
                self.clock.sleep(0.02)

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction; a call inside another on the same thread joins it, and all is written or nothing."""
        current: Connection | None = getattr(self._here, "writing", None)
        if current is not None:
            with self._told():
                yield current
            return
        alone = self._writer if self.dialect == "sqlite" else contextlib.nullcontext()
        with alone, self._told(), self.engine.connect() as connection:
            connection.execution_options(writing=True)
            with connection.begin() as transaction:
                self._here.writing, self._here.failed = connection, None
                try:
                    yield connection
                finally:
                    self._here.writing = None
                failed = self._here.failed
                if failed is not None:
                    transaction.rollback()
                    raise DatabaseUnavailable("a statement of this transaction failed, so none of it was written") from failed

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Sees what is committed, and what an open `begin()` on this thread has written."""
        current: Connection | None = getattr(self._here, "writing", None)
        with self._writer if self._shared else contextlib.nullcontext(), self._told():
            if current is not None:
                yield current
            else:
                with self.engine.connect() as connection:
                    yield connection

    def insert(self, table: Table) -> Any:
        """An insert that knows ON CONFLICT."""
        if self.dialect == "postgresql":
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table)
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)

    def serialize(self, connection: Connection, name: str) -> None:
        """Waits until no other transaction that asked for `name` is open. SQLite has one writer anyway."""
        if self.dialect == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))

    def close(self) -> None:
        self.engine.dispose()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if getattr(self._here, "writing", None) is not None:
                self._here.failed = error
            raise translated(error, self.url) from error


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise BadInput(f"{url!r} is not a database URL; write sqlite:///path or postgresql://user@host/name") from error
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise BadInput(f"database {parsed.drivername!r} is not supported; use sqlite or postgresql")
    if parsed.database == ":memory:":
        parsed = parsed.set(database="")
    return parsed


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says
    connection.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("writing"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _full(url: URL) -> bool:
    """SQLite says no more than "disk I/O error" when its shared-memory file cannot grow."""
    try:
        return shutil.disk_usage(Path(url.database or ".").parent).free < 1 << 16
    except OSError:
        return False


def translated(error: DBAPIError, url: URL) -> PenstockError:
    """The database's own words, under the error that says what to do; never the password."""
    cause, shown = error.orig, url.render_as_string(hide_password=True)
    words = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    state = getattr(cause, "sqlstate", None) or ""
    lower = words.lower()
    if "disk is full" in lower or state == "53100" or ("disk i/o error" in lower and _full(url)):
        return DiskFull(f"no space left while writing the database {shown}")
    if "unable to open" in lower and url.database and not os.access(Path(url.database).parent, os.W_OK):
        return ReadOnly(f"the database {shown} cannot be opened: its folder cannot be written")
    if "readonly database" in lower or state == "25006":
        return ReadOnly(f"the database {shown} cannot be written ({words})")
    if "not a database" in lower or "malformed" in lower:
        return DatabaseVersion(f"{shown} is damaged or not a database ({words})", remedy="Restore the file from a backup, or move it away.")
    return DatabaseUnavailable(f"{shown}: {words}")
