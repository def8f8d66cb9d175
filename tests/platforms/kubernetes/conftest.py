"""An emulated cluster for each test that wants one, and the platform's settings that reach it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from penstock.testing.emulators.kubernetes.cluster import Cluster

ROOT = Path(__file__).parents[3]


def crds() -> Path:
    """Folder of published CRDs (PENSTOCK_SPECS, or ../shared/specs beside the repository); skips where there is none."""
    folder = Path(os.environ.get("PENSTOCK_SPECS") or ROOT.parent / "shared" / "specs") / "kubernetes-crds"
    if not folder.is_dir():
        pytest.skip("no published CRDs here: set PENSTOCK_SPECS to a folder with kubernetes-crds/")
    return folder


@pytest.fixture(scope="session")
def crd_folder() -> Path:
    return crds()


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    with ExitStack() as stack:
        yield lambda **more: stack.enter_context(Cluster(tmp_path / "cluster", environment={"PENSTOCK_NO_SYNC": "1"}, **more))


@pytest.fixture
def cluster(clusters: Callable[..., Cluster]) -> Cluster:
    return clusters()
