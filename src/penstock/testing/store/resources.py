"""What Resources must hold."""

from __future__ import annotations

import pytest

from penstock.core.errors import Conflict, NotFound
from penstock.store import owners
from penstock.store.store import Store
from penstock.testing.store.leases import LeaseTime


class ResourcesConformance(LeaseTime):
    def test_created_is_read_back_and_due_now(self, store: Store) -> None:
        made = store.resources.create("run", "intents", {"a": [1, {"b": None}], "text": "é\u0000\ud83d"}, status={"x": 1.5})
        assert store.resources.get("run", made.id) == made
        assert (made.phase, made.generation, made.due_at, made.owner) == ("pending", 1, store.clock.now(), None)

    def test_ids_are_taken_once(self, store: Store) -> None:
        store.resources.create("run", "a", {}, id="run-1")
        with pytest.raises(Conflict, match="run-1"):
            store.resources.create("run", "b", {}, id="run-1")
        store.resources.create("deployment", "a", {}, id="run-1")
        assert store.resources.get("run", "run-1").name == "a"

    def test_unknown_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound, match="nothing"):
            store.resources.get("run", "nothing")
        with pytest.raises(NotFound):
            store.resources.set_spec("run", "nothing", {})
        assert store.resources.find("run", "nothing") is None

    def test_list_is_newest_first_and_filters(self, store: Store) -> None:
        for number in range(5):
            store.resources.create("run", f"n{number % 2}", {"n": number}, phase="done" if number == 3 else "pending")
            store.clock.sleep(1)
        assert [r.spec["n"] for r in store.resources.list("run")] == [4, 3, 2, 1, 0]
        assert [r.spec["n"] for r in store.resources.list("run", name="n1")] == [3, 1]
        assert [r.spec["n"] for r in store.resources.list("run", phase="done")] == [3]
        assert [r.spec["n"] for r in store.resources.list("run", limit=2)] == [4, 3]
        newest = store.resources.find("run", "n0")
        assert newest is not None
        assert newest.spec == {"n": 4}

    def test_a_row_is_leased_to_one(self, store: Store) -> None:
        made = store.resources.create("run", "a", {})
        lease_s = self.lease_s(store)
        first = store.resources.lease(["deployment", "run"], "a", lease_s)
        assert first is not None
        assert (first.id, first.owner) == (made.id, "a")
        assert store.resources.lease(["run"], "b", lease_s) is None
        assert store.resources.lease(["run"], "a", lease_s) is None
        assert not store.resources.take("run", made.id, "b", lease_s)
        assert not store.resources.renew("run", made.id, "b", lease_s)

    def test_longest_due_first_and_only_kinds_asked_for(self, store: Store) -> None:
        now = store.clock.now()
        store.resources.create("run", "late", {}, due_at=now - 1)
        store.resources.create("run", "later", {}, due_at=now - 5)
        store.resources.create("run", "future", {}, due_at=now + 5)
        store.resources.create("run", "never", {}, due_at=None)
        store.resources.create("other", "x", {}, due_at=now - 50)
        names = [store.resources.lease(["run"], f"o{n}", 30.0) for n in range(3)]
        assert [r and r.name for r in names] == ["later", "late", None]

    def test_an_ended_lease_passes_on_and_the_old_owner_cannot_write(self, store: Store) -> None:
        made, lease_s = store.resources.create("run", "a", {}), self.lease_s(store)
        assert store.resources.lease(["run"], "a", lease_s)
        self.outlive(store, lease_s)
        assert store.resources.lease(["run"], "b", 30.0)
        with pytest.raises(Conflict, match="no longer held by a"):
            store.resources.save("run", made.id, "a", status={"from": "a"}, phase="x", due_at=None)
        assert not store.resources.renew("run", made.id, "a", 30.0)
        store.resources.release("run", made.id, "a")
        assert store.resources.lease(["run"], "c", 30.0) is None
        store.resources.save("run", made.id, "b", status={"from": "b"}, phase="y", due_at=None)
        saved = store.resources.get("run", made.id)
        assert (saved.status, saved.phase, saved.due_at) == ({"from": "b"}, "y", None)

    def test_renewing_keeps_it(self, store: Store) -> None:
        made, lease_s = store.resources.create("run", "a", {}), self.lease_s(store)
        assert store.resources.take("run", made.id, "a", lease_s)
        for _ in range(2):
            store.clock.sleep(lease_s * 0.6)
            assert store.resources.renew("run", made.id, "a", 30.0)
        assert not store.resources.take("run", made.id, "b", 30.0)
        assert store.resources.take("run", made.id, "a", 30.0)

    @pytest.mark.parametrize("by_s", [86_400.0, -86_400.0])
    def test_a_jump_of_the_clock_neither_ends_nor_stretches_a_lease(self, store: Store, by_s: float) -> None:
        made, lease_s = store.resources.create("run", "a", {}), self.lease_s(store)
        assert store.resources.take("run", made.id, "a", lease_s)
        self.jump(store, by_s)
        assert not store.resources.take("run", made.id, "b", lease_s)
        assert store.resources.lease(["run"], "b", lease_s) is None
        self.outlive(store, lease_s)
        assert store.resources.take("run", made.id, "b", lease_s)

    def test_a_clock_set_back_does_not_put_off_what_was_due_soon(self, store: Store) -> None:
        store.resources.create("run", "a", {}, due_at=store.clock.now() + 5)
        self.jump(store, -86_400.0)
        assert store.resources.lease(["run"], "a", 30.0) is not None

    def test_a_dead_process_is_taken_over_at_once(self, store: Store) -> None:
        made = store.resources.create("run", "a", {})
        gone = f"{owners.host()}:{2**22 + 1}:1"
        assert store.resources.take("run", made.id, gone, 3600.0)
        leased = store.resources.lease(["run"], owners.this_owner(), 30.0)
        assert leased is not None
        assert leased.owner == owners.this_owner()
        assert not store.resources.take("run", made.id, "elsewhere:1:1", 30.0)
        other = store.resources.create("run", "b", {}, due_at=None)
        assert store.resources.take("run", other.id, gone, 3600.0)
        assert store.resources.take("run", other.id, "elsewhere:1:1", 30.0)

    def test_a_spec_changed_meanwhile_stays_due(self, store: Store) -> None:
        made = store.resources.create("run", "a", {"n": 1})
        assert store.resources.lease(["run"], "a", 30.0)
        assert store.resources.set_spec("run", made.id, {"n": 2}).generation == 2
        store.resources.save("run", made.id, "a", status={}, phase="done", due_at=None)
        store.resources.release("run", made.id, "a", due_at=None)
        again = store.resources.lease(["run"], "b", 30.0)
        assert again is not None
        assert again.spec == {"n": 2}
        store.resources.save("run", made.id, "b", status={}, phase="done", due_at=None)
        store.resources.release("run", made.id, "b")
        assert store.resources.lease(["run"], "c", 30.0) is None
        store.resources.wake("run", made.id)
        assert store.resources.lease(["run"], "c", 30.0) is not None

    def test_release_frees_at_once(self, store: Store) -> None:
        made = store.resources.create("run", "a", {})
        assert store.resources.lease(["run"], "a", 30.0)
        store.resources.release("run", made.id, "a", due_at=store.clock.now() + 10)
        assert store.resources.lease(["run"], "b", 30.0) is None
        store.clock.sleep(11)
        assert store.resources.lease(["run"], "b", 30.0) is not None

    def test_one_transaction_is_all_or_nothing(self, store: Store) -> None:
        def fail_halfway() -> None:
            with store.database.begin():
                made = store.resources.create("run", "a", {}, id="r")
                store.events.add("run", "r", "created", "created")
                assert store.resources.get("run", "r") == made
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail_halfway()
        assert store.resources.list("run") == []
        assert store.events.list("run", "r") == []

    def test_deleted_is_gone(self, store: Store) -> None:
        made = store.resources.create("run", "a", {})
        store.resources.delete("run", made.id)
        assert store.resources.list("run") == []
