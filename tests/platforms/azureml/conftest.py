"""One emulated workspace for all tests of the platform, and Azure's own environment pointing at it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.home import Home
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.azure import Azure

ROOT = Path(__file__).parents[3]


def published() -> Path | None:
    """Folder of the published ARM schema (PENSTOCK_SPECS, or ../shared/specs beside the repository); None where there is none."""
    folder = Path(os.environ.get("PENSTOCK_SPECS") or ROOT.parent / "shared" / "specs") / "azure"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def schema_folder() -> Path:
    folder = published()
    if folder is None:
        pytest.skip("no published ARM schema here: set PENSTOCK_SPECS to a folder with azure/")
    return folder


@pytest.fixture(scope="session")
def workspace_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    with Azure(tmp_path_factory.mktemp("azure"), published()) as cloud:
        yield cloud


@pytest.fixture
def cloud(workspace_of_all: Azure, monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    """Emptied after each test."""
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    for name, value in {**workspace_of_all.environment, "PENSTOCK_NO_SYNC": "1"}.items():
        monkeypatch.setenv(name, value)
    yield workspace_of_all
    workspace_of_all.clear()


@pytest.fixture
def place(cloud: Azure, tmp_path: Path) -> tuple[Home, Artifacts]:  # noqa: ARG001 (its environment)
    home = Home.find(tmp_path, {})
    return home, Artifacts(home.artifacts_url, home.cache)
