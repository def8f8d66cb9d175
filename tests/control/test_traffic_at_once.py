"""Several processes' worth of people change one deployment at once, on both databases: no change is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from penstock.control.deployments import desired_deployment, get_deployment
from penstock.control.policy import deploy_of
from penstock.control.traffic import set_header, set_traffic
from penstock.control.world import World
from penstock.core.home import Home
from penstock.store.store import Store
from penstock.testing.deployments import DIGESTS

WRITERS, CHANGES = 3, 6


def changed_by_many(folder: Path, url: str) -> int:
    """How many of the rules that WRITERS wrote at once are there in the end."""
    home = Home(folder, url, (folder / "artifacts").as_uri())
    store = Store.open(home)
    for n in (1, 2):
        store.registry.register("m", DIGESTS[n], run="run", task="text-generation", metrics={}, gates=[], facts={})
    world = World(store, home, "test")
    desired_deployment(world, "m", "m", 1, {}, {}, principal="test")

    def write(writer: int) -> None:
        own = Store.open(home)
        for n in range(CHANGES):
            set_header(World(own, home, f"writer {writer}"), "m", f"x-{writer}-{n}", "1", 2, principal="test")
            set_traffic(World(own, home, f"writer {writer}"), "m", {1: 1 + writer, 2: 1 + n}, principal="test")
        own.close()

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    count = len(deploy_of(get_deployment(world, "m").spec).traffic.headers)
    store.close()
    return count


def test_on_sqlite(tmp_path: Path) -> None:
    assert changed_by_many(tmp_path, f"sqlite:///{tmp_path / 'penstock.db'}") == WRITERS * CHANGES


@pytest.mark.postgres
def test_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    assert changed_by_many(tmp_path, postgres_url) == WRITERS * CHANGES
