"""What Builds must hold."""

from __future__ import annotations

import math
from dataclasses import replace

from penstock.store import owners
from penstock.store.builds import Build
from penstock.store.store import Store
from penstock.testing.store.leases import LeaseTime

DIGEST = "sha256:" + "ab" * 32


def a_build(key: str = "k", created_at: float = 1.0) -> Build:
    return Build(key, "intents", "train", "train@1", {"model": DIGEST}, {"loss": 0.25}, {"config": "c"}, 2.5, "run-1", created_at)


class BuildsConformance(LeaseTime):
    def test_recorded_is_read_back(self, store: Store) -> None:
        build = a_build()
        assert store.builds.get("k") is None
        assert store.builds.record(build) == build
        assert store.builds.get("k") == build
        assert store.builds.get_many(["x", "k", "k"]) == {"k": build}
        assert store.builds.get_many([]) == {}

    def test_first_writer_wins(self, store: Store) -> None:
        first, second = a_build(), replace(a_build(), run="run-2", outputs={"model": "sha256:" + "cd" * 32})
        store.builds.record(first)
        assert store.builds.record(second) == first
        assert store.builds.get("k") == first

    def test_invalidated_is_made_again(self, store: Store) -> None:
        first, second = a_build(), replace(a_build(), run="run-2")
        store.builds.record(first)
        store.builds.invalidate("k", "bytes are corrupt")
        assert store.builds.get("k") is None
        assert store.builds.get_many(["k"]) == {}
        assert store.builds.latest("intents", "train") is None
        assert store.builds.record(second) == second
        assert store.builds.record(first) == second

    def test_latest_and_durations_are_of_the_newest(self, store: Store) -> None:
        for number in range(4):
            store.builds.record(replace(a_build(f"k{number}", float(number)), seconds=float(number)))
        newest = store.builds.latest("intents", "train")
        assert newest is not None
        assert newest.key == "k3"
        assert store.builds.durations("train@1", "train", limit=3) == [3.0, 2.0, 1.0]
        assert store.builds.durations("train@2", "train") == []

    def test_metrics_that_are_no_numbers_survive(self, store: Store) -> None:
        store.builds.record(replace(a_build(), metrics={"loss": math.nan, "worst": math.inf}))
        found = store.builds.get("k")
        assert found is not None
        assert math.isnan(found.metrics["loss"])
        assert found.metrics["worst"] == math.inf

    def test_many_keys_at_once(self, store: Store) -> None:
        keys = [f"k{number}" for number in range(1200)]
        with store.database.begin():
            for key in keys:
                store.builds.record(a_build(key))
        assert set(store.builds.get_many(keys)) == set(keys)

    def test_a_claim_is_held_by_one_until_it_ends(self, store: Store) -> None:
        lease_s = self.lease_s(store)
        assert store.builds.claim("k", "a", lease_s)
        assert store.builds.claim("k", "a", lease_s)
        assert not store.builds.claim("k", "b", lease_s)
        assert store.builds.claimant("k") == "a"
        assert store.builds.claim("other", "b", lease_s)
        self.outlive(store, lease_s)
        assert store.builds.claimant("k") is None
        assert store.builds.claim("k", "b", 30.0)
        assert not store.builds.renew("k", "a", 30.0)
        store.builds.unclaim("k", "a")
        assert store.builds.claimant("k") == "b"
        store.builds.unclaim("k", "b")
        assert store.builds.claim("k", "a", 30.0)

    def test_a_renewed_claim_goes_on(self, store: Store) -> None:
        lease_s = self.lease_s(store)
        assert store.builds.claim("k", "a", lease_s)
        assert store.builds.renew("k", "a", 60.0)
        self.outlive(store, lease_s)
        assert not store.builds.claim("k", "b", 30.0)

    def test_a_jump_of_the_clock_does_not_end_a_claim(self, store: Store) -> None:
        assert store.builds.claim("k", "a", 30.0)
        self.jump(store, 1e6)
        assert not store.builds.claim("k", "b", 30.0)
        assert store.builds.claimant("k") == "a"

    def test_a_dead_process_holds_nothing(self, store: Store) -> None:
        gone = f"{owners.host()}:{2**22 + 1}:1"
        assert store.builds.claim("k", gone, 3600.0)
        assert store.builds.claimant("k") is None
        assert store.builds.claim("k", "b", 30.0)
        assert not store.builds.claim("k", "c", 30.0)
