"""Worlds for the control tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.control.gateway import ensure_gateway, stop_gateway
from penstock.testing.control import Bench
from penstock.testing.deployments import DIGESTS
from penstock.testing.platforms import MemoryEndpoints


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


@pytest.fixture
def served(new_bench: Callable[[], Bench]) -> Iterator[Callable[[], tuple[Bench, MemoryEndpoints]]]:
    """Benches with three registered versions of model `m`, replicas in memory, and a running gateway."""
    made: list[Bench] = []

    def make() -> tuple[Bench, MemoryEndpoints]:
        bench = new_bench()
        made.append(bench)
        for n in (1, 2, 3):
            bench.store.registry.register("m", DIGESTS[n], run=f"run-{n}", task="text-classification", metrics={}, gates=[], facts={})
        ensure_gateway(bench.home, "127.0.0.1", 0)
        return bench, MemoryEndpoints()

    yield make
    for bench in made:
        stop_gateway(bench.home)
