"""What Points must hold."""

from __future__ import annotations

import math

from penstock.store.points import Point
from penstock.store.store import Store


class PointsConformance:
    def test_read_back_by_step_and_name_in_order(self, store: Store) -> None:
        curve = [Point("r", "train", "loss", n, 1.0 / (n + 1), float(n)) for n in range(50)]
        other = [
            Point("r", "train", "rate", 0, 0.1, 0.0),
            Point("r", "tune", "loss", 0, 0.2, 0.0),
            Point("r2", "train", "loss", 0, 0.3, 0.0),
        ]
        store.points.append(reversed(curve))
        store.points.append(other)
        assert store.points.read("r", "train", "loss") == curve
        assert store.points.read("r", name="loss") == [*curve, other[1]]
        assert len(store.points.read("r")) == 52
        assert store.points.read("r3") == []

    def test_the_newest_of_one_place_stands_also_within_a_batch(self, store: Store) -> None:
        store.points.append([Point("r", "s", "loss", 1, 0.5, 1.0), Point("r", "s", "loss", 1, 0.4, 2.0)])
        store.points.append([Point("r", "s", "loss", 1, 0.3, 3.0)])
        assert store.points.read("r") == [Point("r", "s", "loss", 1, 0.3, 3.0)]

    def test_numbers_that_are_none_and_large_steps(self, store: Store) -> None:
        store.points.append([Point("r", "s", "a", 2**40, math.inf, 0.0), Point("r", "s", "b", 0, math.nan, 0.0)])
        big, nan = store.points.read("r")
        assert (big.at_step, big.value) == (2**40, math.inf)
        assert math.isnan(nan.value)

    def test_nothing_is_fine(self, store: Store) -> None:
        store.points.append([])
        assert store.points.read("r") == []
