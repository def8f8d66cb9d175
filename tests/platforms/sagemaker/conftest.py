"""One emulated account for all tests of the platform, and AWS's own environment pointing at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.home import Home
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.sagemaker import SageMaker


@pytest.fixture(scope="session")
def account_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SageMaker]:
    with SageMaker(tmp_path_factory.mktemp("sagemaker")) as cloud:
        yield cloud


@pytest.fixture
def cloud(account_of_all: SageMaker, monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMaker]:
    """Emptied after each test."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in account_of_all.environment.items():
        monkeypatch.setenv(name, value)
    yield account_of_all
    account_of_all.clear()


@pytest.fixture
def place(cloud: SageMaker, tmp_path: Path) -> tuple[Home, Artifacts]:
    """A home whose artifacts lie in a bucket."""
    home = Home.find(tmp_path, {"PENSTOCK_ARTIFACTS": f"{cloud.bucket()}/store"})
    return home, Artifacts(home.artifacts_url, home.cache)
