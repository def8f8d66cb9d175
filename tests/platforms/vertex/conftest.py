"""One emulated project for all tests of the platform, and Google's own environment pointing at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.home import Home
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.vertex import VertexAI


@pytest.fixture(scope="session")
def project_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VertexAI]:
    with VertexAI(tmp_path_factory.mktemp("vertex")) as cloud:
        yield cloud


@pytest.fixture
def cloud(project_of_all: VertexAI, monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexAI]:
    """Emptied after each test."""
    for name, value in project_of_all.environment.items():
        monkeypatch.setenv(name, value)
    yield project_of_all
    project_of_all.clear()


@pytest.fixture
def place(cloud: VertexAI, tmp_path: Path) -> tuple[Home, Artifacts]:
    """A home whose artifacts lie in a bucket."""
    home = Home.find(tmp_path, {"PENSTOCK_ARTIFACTS": f"{cloud.bucket()}/store"})
    return home, Artifacts(home.artifacts_url, home.cache)
