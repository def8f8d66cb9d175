"""What every test shares: Hypothesis without deadlines (the machine is shared), the mirror of real data sets, a PostgreSQL."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from penstock.testing.postgres import PostgresServer, binaries, running

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # several workers share the cores: see penstock.platforms.local.worker
settings.register_profile("penstock", deadline=None, max_examples=50)
settings.load_profile("penstock")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes begins first, beside all the rest."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder of real data sets (PENSTOCK_MIRROR, or ../shared/data beside the repository); skips where there is none."""
    folder = Path(os.environ.get("PENSTOCK_MIRROR") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no mirror of real data sets: set PENSTOCK_MIRROR")
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.fresh_database() as url:
        yield url
