"""What `penstock keys` sets is what the gateway reads."""

from __future__ import annotations

from pathlib import Path

from penstock.control.gateway import publish
from penstock.core.home import Home
from penstock.serving.snapshot import KeyLimits, read_snapshot
from penstock.store.keys import Terms
from penstock.store.store import Store


def test_the_terms_of_a_key_are_in_the_snapshot_and_a_change_makes_a_new_one(tmp_path: Path) -> None:
    home, store = Home.find(tmp_path, {}), Store.memory()
    store.keys.create("plain")
    store.clock.sleep(0.002)
    key, _ = store.keys.create("ci", Terms(60, 1000, 4, 20.0, "day", "high", ("chat",)))
    first = publish(store, home)
    plain, limited = read_snapshot(home.gateway / "snapshot.json").keys
    assert (plain.priority, plain.models, plain.limits) == (1, (), KeyLimits())
    assert (limited.priority, limited.models, limited.limits) == (2, ("chat",), KeyLimits(60, 1000, 4, 20.0, "day"))
    assert publish(store, home) == first
    store.keys.limit(key.id, {"requests_per_minute": None, "priority": "low"})
    assert publish(store, home) == first + 1
    changed = read_snapshot(home.gateway / "snapshot.json").keys[1]
    assert (changed.priority, changed.limits.requests_per_minute, changed.limits.budget_usd) == (0, None, 20.0)
    store.close()
