"""What Events must hold."""

from __future__ import annotations

from penstock.store.store import Store


class EventsConformance:
    def test_in_order_of_their_resource_only(self, store: Store) -> None:
        for number in range(5):
            store.events.add("run", "r1", "log", f"line {number}", {"n": number})
            store.events.add("run", "r2", "log", "other")
        found = store.events.list("run", "r1")
        assert [(e.message, e.data) for e in found] == [(f"line {n}", {"n": n}) for n in range(5)]
        assert [e.seq for e in found] == sorted({e.seq for e in found})
        assert store.events.list("run", "r1", since=found[2].seq) == found[3:]
        assert store.events.list("run", "r1", limit=2) == found[:2]
        assert list(store.events.latest("run", "r1", limit=2)) == found[-2:]
        assert store.events.list("deployment", "r1") == []

    def test_any_text_is_kept_readable(self, store: Store) -> None:
        store.events.add("run", "r", "log", "nul \0 lone \ud800 snow \N{SNOWMAN}", {"k": "nul \0"})
        (event,) = store.events.list("run", "r")
        assert event.message == "nul \N{SYMBOL FOR NULL} lone \\ud800 snow \N{SNOWMAN}"
        assert event.data == {"k": "nul \0"}
