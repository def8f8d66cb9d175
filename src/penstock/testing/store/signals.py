"""What Signals must hold."""

from __future__ import annotations

import math

from penstock.store.signals import Signal
from penstock.store.store import Store


def _of(name: str, at: float, value: float = 1.0, version: str = "", slice: str = "") -> Signal:
    return Signal("support", name, at, value, 10.0, version, slice, 0.5, 0.9, 1.1, {"words": ["ü", "card"]})


class SignalsConformance:
    def test_read_back_in_order_of_time(self, store: Store) -> None:
        made = [_of("error_rate", 60.0), _of("error_rate", 120.0), _of("error_rate", 120.0, version="2"), _of("requests", 120.0)]
        store.signals.append(reversed(made))
        store.signals.append([Signal("other", "requests", 60.0, 5.0)])
        assert store.signals.read("support") == made
        assert store.signals.read("support", name="error_rate", since=60.0) == made[1:3]
        assert store.signals.read("support", until=60.0) == made[:1]
        assert store.signals.read("support", name=["error_rate", "nothing"], since=60.0) == made[1:3]
        assert store.signals.read("support", whole=True) == [one for one in made if not one.version and not one.slice]
        assert store.signals.read("support", limited=True) == made
        assert store.signals.read("other", limited=True) == []
        assert store.signals.newest("support") == max(one.at for one in made)
        assert store.signals.newest("nobody") is None
        assert store.signals.read("other") == [Signal("other", "requests", 60.0, 5.0)]
        assert store.signals.read("nobody") == []

    def test_measured_again_writes_over(self, store: Store) -> None:
        store.signals.append([_of("drift", 60.0, 0.1), _of("drift", 60.0, 0.2)])
        store.signals.append([_of("drift", 60.0, 0.7)])
        assert [s.value for s in store.signals.read("support")] == [0.7]
        assert store.signals.read("support")[0].over

    def test_the_newest_of_each_place(self, store: Store) -> None:
        made = [_of(name, at, version=version) for name in ("a", "b") for version in ("", "1") for at in (1.0, 2.0, 3.0)]
        store.signals.append(made)
        assert [(*s.place, s.at) for s in store.signals.latest("support")] == [
            ("a", "", "", 3.0),
            ("a", "1", "", 3.0),
            ("b", "", "", 3.0),
            ("b", "1", "", 3.0),
        ]
        assert {s.at for s in store.signals.latest("support", until=2.5)} == {2.0}

    def test_what_is_no_number_was_not_measured(self, store: Store) -> None:
        store.signals.append([_of("a", 1.0, math.nan), _of("b", 1.0, math.inf), _of("c", 1.0)])
        store.signals.append([])
        assert [s.name for s in store.signals.read("support")] == ["c"]

    def test_old_ones_are_forgotten(self, store: Store) -> None:
        store.signals.append([_of("a", float(at)) for at in range(10)])
        assert store.signals.forget("support", 4.0) == 4
        assert store.signals.forget("other", 40.0) == 0
        assert [s.at for s in store.signals.read("support")] == [4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
