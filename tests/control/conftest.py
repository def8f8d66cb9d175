"""Worlds for the control tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.testing.control import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def new_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Bench]]:
    """For property tests, which need a fresh one for every example."""
    made: list[Bench] = []

    def make() -> Bench:
        made.append(Bench(tmp_path_factory.mktemp("bench")))
        return made[-1]

    yield make
    for one in made:
        one.close()
