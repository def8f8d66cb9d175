"""The metadata suites on the in-memory twin, a SQLite file and a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.clock import ManualClock
from penstock.core.home import Home
from penstock.store.store import Store
from penstock.testing.store.audit import AuditConformance
from penstock.testing.store.builds import BuildsConformance
from penstock.testing.store.events import EventsConformance
from penstock.testing.store.keys import KeysConformance
from penstock.testing.store.points import PointsConformance
from penstock.testing.store.registry import RegistryConformance
from penstock.testing.store.resources import ResourcesConformance
from penstock.testing.store.signals import SignalsConformance


class AllMetadata(
    ResourcesConformance,
    EventsConformance,
    BuildsConformance,
    RegistryConformance,
    PointsConformance,
    SignalsConformance,
    KeysConformance,
    AuditConformance,
):
    pass


class TestInMemory(AllMetadata):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = Store.memory(ManualClock())
        yield store
        store.close()


class TestSqliteFile(AllMetadata):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = Store.open(Home.find(tmp_path / "a folder with spaces & é", {}), ManualClock())
        yield store
        store.close()


@pytest.mark.postgres
class TestPostgres(AllMetadata):
    @pytest.fixture
    def store(self, tmp_path: Path, postgres_url: str) -> Iterator[Store]:
        store = Store.open(Home.find(tmp_path, {"PENSTOCK_DATABASE": postgres_url}), ManualClock())
        yield store
        store.close()
