"""What the Registry must hold."""

from __future__ import annotations

import pytest

from penstock.core.errors import NotFound
from penstock.store.registry import ModelVersion
from penstock.store.store import Store
from penstock.testing.store.leases import LeaseTime


def _register(store: Store, bundle: str, model: str = "intents") -> ModelVersion:
    facts = {"dataset": "sha256:" + "0" * 64}
    return store.registry.register(model, bundle, run="run-1", task="text-classification", metrics={"a": 0.5}, gates=[], facts=facts)


class RegistryConformance(LeaseTime):
    def test_versions_count_up_and_a_bundle_is_registered_once(self, store: Store) -> None:
        first, second, again = _register(store, "b1"), _register(store, "b2"), _register(store, "b1")
        assert (first.version, second.version, again) == (1, 2, first)
        assert _register(store, "b1", "other").version == 1
        assert [v.version for v in store.registry.versions("intents")] == [2, 1]
        assert store.registry.models() == ["intents", "other"]
        assert store.registry.get("intents", 2) == store.registry.get("intents", "2") == store.registry.get("intents", "latest") == second

    def test_aliases_move_and_are_remembered(self, store: Store) -> None:
        _register(store, "b1")
        _register(store, "b2")
        start = store.clock.now()
        store.registry.set_alias("intents", "champion", 1, "ada")
        store.clock.sleep(10)
        store.registry.set_alias("intents", "champion", 2, "ada")
        store.registry.set_alias("intents", "challenger", 1, "ada")
        assert store.registry.aliases("intents") == {"challenger": 1, "champion": 2}
        assert store.registry.get("intents", "champion").version == 2
        assert [store.registry.alias_at("intents", "champion", start + s) for s in (-1, 0, 9, 10)] == [None, 1, 1, 2]
        store.registry.set_alias("intents", "challenger", None, "ada")
        assert store.registry.aliases("intents") == {"champion": 2}

    def test_history_keeps_its_order_when_the_clock_is_set_back(self, store: Store) -> None:
        _register(store, "b1")
        _register(store, "b2")
        start = store.clock.now()
        store.registry.set_alias("intents", "champion", 1, "ada")
        store.registry.record_live("intents", [(1, "b1", 1.0)])
        self.jump(store, -3600.0)
        store.registry.set_alias("intents", "champion", 2, "ada")
        store.registry.record_live("intents", [(2, "b2", 1.0)])
        assert [store.registry.alias_at("intents", "champion", start + s) for s in (-1, 0)] == [None, 2]
        assert store.registry.live_at("intents", start) == [(2, "b2", 1.0)]

    def test_unknown_names_are_told_with_what_there_is(self, store: Store) -> None:
        _register(store, "b1")
        store.registry.set_alias("intents", "champion", 1, "ada")
        with pytest.raises(NotFound, match="champion"):
            store.registry.get("intents", "champ")
        with pytest.raises(NotFound, match="intents"):
            store.registry.get("intent", "champion")
        with pytest.raises(NotFound):
            store.registry.get("intents", 2)
        with pytest.raises(NotFound):
            store.registry.set_alias("intents", "champion", 7, "ada")
        with pytest.raises(NotFound):
            store.registry.set_state("intents", 7, "promoted")

    def test_state_changes_and_nothing_else(self, store: Store) -> None:
        first = _register(store, "b1")
        store.registry.set_state("intents", 1, "refused")
        found = store.registry.get("intents", 1)
        assert (found.state, found.bundle, found.created_at) == ("refused", first.bundle, first.created_at)

    def test_what_was_live_when(self, store: Store) -> None:
        start = store.clock.now()
        store.registry.record_live("d", [(1, "b1", 1.0)])
        store.clock.sleep(10)
        store.registry.record_live("d", [(1, "b1", 0.75), (2, "b2", 0.25)])
        store.registry.record_live("d", [(0, "b0", 1.0)], at=start - 100)
        assert store.registry.live_at("d", start + 5) == [(1, "b1", 1.0)]
        assert store.registry.live_at("d", start + 10) == [(1, "b1", 0.75), (2, "b2", 0.25)]
        assert store.registry.live_at("d", start - 101) == []
        assert [at for at, _ in store.registry.live_history("d")] == [start - 100, start, start + 10]
        assert store.registry.live_history("e") == []
