"""Older databases are stepped forward, newer and foreign ones refused, half a step never seen."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect

from penstock.core.clock import SystemClock
from penstock.core.errors import BadInput, DatabaseUnavailable, DatabaseVersion
from penstock.store import migrations, schema
from penstock.store.database import Database
from penstock.store.keys import Keys, Terms
from penstock.store.migrations import Migration

KNOWN = tuple(migrations.MIGRATIONS)


def _url(folder: Path) -> str:
    return f"sqlite:///{folder / 'penstock.db'}"


def _columns(database: Database) -> dict[str, set[str]]:
    with database.reading() as connection:
        found = inspect(connection)
        return {
            table: {c["name"] for c in found.get_columns(table)} | {str(i["name"]) for i in found.get_indexes(table)}
            for table in found.get_table_names()
        }


def _make_older(url: str) -> None:
    """The tables as a version 0 would have had them: no metric points, no index on the builds of a stage."""
    database = Database(url)
    with database.begin() as connection:
        connection.exec_driver_sql("DROP TABLE points")
        connection.exec_driver_sql("DROP TABLE signals")
        connection.exec_driver_sql("DROP INDEX builds_stage")
        connection.exec_driver_sql("ALTER TABLE keys DROP COLUMN terms")
        connection.exec_driver_sql("UPDATE penstock_schema SET version = 0")
    database.close()


def _to_one(connection: Connection) -> None:
    schema.points.create(connection)
    next(i for i in schema.builds.indexes if i.name == "builds_stage").create(connection)


def _fails_halfway(connection: Connection) -> None:
    schema.points.create(connection)
    raise RuntimeError("killed here")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return _url(tmp_path) if request.param == "sqlite" else request.getfixturevalue("postgres_url")


def test_an_older_database_is_stepped_forward(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = Database(url)
    expected = _columns(fresh)
    fresh.close()
    _make_older(url)
    monkeypatch.setattr(migrations, "MIGRATIONS", (Migration(1, _to_one), *KNOWN))
    database = Database(url)
    assert _columns(database) == expected
    with database.reading() as connection:
        assert migrations.stored_version(connection) == schema.VERSION
    database.close()


def test_a_step_that_fails_leaves_the_older_version_whole(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Database(url).close()
    _make_older(url)
    monkeypatch.setattr(migrations, "MIGRATIONS", (Migration(1, _fails_halfway),))
    with pytest.raises(RuntimeError, match="killed here"):
        Database(url)
    monkeypatch.setattr(migrations, "MIGRATIONS", (Migration(1, _to_one), *KNOWN))
    database = Database(url)
    assert "points" in _columns(database)
    database.close()


def test_keys_of_version_one_have_no_limits_after_the_step(url: str) -> None:
    database = Database(url)
    key, _ = Keys(database, SystemClock()).create("old")
    with database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE keys DROP COLUMN terms")
        connection.exec_driver_sql("DROP TABLE signals")
        connection.exec_driver_sql("UPDATE penstock_schema SET version = 1")
    database.close()
    stepped = Database(url)
    keys = Keys(stepped, SystemClock())
    assert keys.list() == [key]
    assert keys.limit("old", {"concurrency": 3})[0].terms == Terms(concurrency=3)
    assert keys.list()[0].terms == Terms(concurrency=3)
    stepped.close()


def test_every_version_has_its_step() -> None:
    assert [m.to for m in migrations.MIGRATIONS] == list(range(2, schema.VERSION + 1))


def test_a_newer_database_is_refused(url: str) -> None:
    database = Database(url)
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE penstock_schema SET version = 99")
    database.close()
    with pytest.raises(DatabaseVersion, match=r"version 99.*up to") as caught:
        Database(url)
    assert "at least as new" in caught.value.way_out


def test_a_foreign_database_is_refused_untouched(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "penstock.db")
    connection.execute("CREATE TABLE invoices (id)")
    connection.close()
    with pytest.raises(DatabaseVersion, match=r"invoices.*not a Penstock database"):
        Database(_url(tmp_path))
    connection = sqlite3.connect(tmp_path / "penstock.db")
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("invoices",)]
    connection.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "penstock.db").write_bytes(b"not a database at all, but long enough to have a header" * 50)
    with pytest.raises(DatabaseVersion, match="not a database"):
        Database(_url(tmp_path))


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite+aiosqlite:///x"])
def test_other_databases_are_bad_input(url: str) -> None:
    with pytest.raises(BadInput, match=r"sqlite"):
        Database(url)


def test_a_server_that_does_not_answer_is_told_without_the_password() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:9") as caught:
        Database("postgresql://app:hunter2@127.0.0.1:9/x")
    assert "hunter2" not in str(caught.value)
