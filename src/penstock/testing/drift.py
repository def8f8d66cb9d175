"""Conformance of what drift is made of: subclass, say how to make values, and every promise of monitoring/drift/contract.py is checked.

`SketchConformance` for a sketch, `DetectorConformance` for a detector, `StreamingConformance` for a detector of streams.
"""

from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import pytest

from penstock.core.errors import ArtifactCorrupt
from penstock.monitoring.drift.contract import Detector, Sketch, Streaming
from penstock.monitoring.drift.table import DETECTORS, SKETCHES, decode
from penstock.monitoring.drift.tail import far_quantile


class SketchConformance:
    """`kind` is the sketch's name in the table; `values(rows, seed)` gives what its `fit` takes."""

    kind: str
    most_bytes = 4 << 20  # whatever it was made of

    def values(self, rows: int, seed: int) -> Any:
        raise NotImplementedError("a subclass makes its values")

    def fitted(self, rows: int = 400, seed: int = 1) -> Sketch:
        found: Sketch = SKETCHES.load(self.kind).fit(self.values(rows, seed))[0]
        return found

    def test_is_listed_under_its_kind(self) -> None:
        assert self.fitted().kind == self.kind

    def test_counts_its_rows(self) -> None:
        assert self.fitted(400).rows == 400

    def test_merges_to_the_same_in_any_order(self) -> None:
        base = self.fitted()
        one, other, third = (base.of(base.lift(self.values(rows, seed))) for rows, seed in ((300, 2), (90, 3), (700, 4)))
        assert one.merge(other).merge(third).encode() == third.merge(other.merge(one)).encode()

    def test_a_merge_is_the_sketch_of_all_rows(self) -> None:
        base = self.fitted()
        lifted = base.lift(self.values(1000, 5))
        parts = [base.of(lifted[np.arange(start, start + 250)]) for start in range(0, 1000, 250)]
        merged = parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])
        assert merged.rows == base.of(lifted).rows == 1000
        self.same(merged, base.of(lifted))

    def same(self, one: Sketch, other: Sketch) -> None:
        """Sums of floating-point numbers may differ in their last bits: such sketches compare otherwise."""
        assert one.encode() == other.encode()

    def test_rows_can_be_taken_out_again(self) -> None:
        base = self.fitted()
        lifted = base.lift(self.values(500, 6))
        whole, part = base.of(lifted), base.of(lifted[np.arange(120)])
        assert whole.less(part).rows == 380
        self.same_counts(whole.less(part), base.of(lifted[np.arange(120, 500)]))

    def same_counts(self, one: Sketch, other: Sketch) -> None:
        assert self.own_detector().distance(one, other) == pytest.approx(0, abs=1e-6)

    def own_detector(self) -> Detector[Any]:
        name = next(name for name in DETECTORS.names() if self.kind in DETECTORS.load(name).kinds)
        found: Detector[Any] = DETECTORS.load(name)()
        return found

    def test_bytes_give_the_sketch_back(self) -> None:
        sketch = self.fitted()
        again = decode(sketch.encode())
        assert again.encode() == sketch.encode()
        assert again.merge(sketch.of(sketch.lift(self.values(50, 7)))).rows == sketch.rows + 50

    def test_is_bounded(self) -> None:
        assert len(self.fitted(20_000, 8).encode()) <= self.most_bytes

    def test_cut_bytes_are_refused(self) -> None:
        data = self.fitted().encode()
        for end in {0, 1, 20, len(data) // 2, len(data) - 1, *range(0, len(data), max(1, len(data) // 60))}:
            with pytest.raises(ArtifactCorrupt):
                decode(data[:end])
        with pytest.raises(ArtifactCorrupt):
            decode(data + b"x")

    def test_hostile_bytes_are_refused_or_harmless(self) -> None:
        """A byte turned anywhere gives ArtifactCorrupt, or another sketch of bounded size that still compares."""
        base, data, chance = self.fitted(), self.fitted().encode(), random.Random(9)
        head = data.index(b"\n")
        for place in [*range(0, head + 1, max(1, head // 120)), *(chance.randrange(len(data)) for _ in range(120))]:
            turned = bytearray(data)
            turned[place] ^= 1 << chance.randrange(8)
            try:
                found = decode(bytes(turned))
            except ArtifactCorrupt:
                continue
            assert math.isfinite(found.rows)
            assert len(found.encode()) < 2 * len(data) + 1000
            if found.kind == base.kind:
                with_it = self.own_detector()
                try:
                    assert math.isfinite(with_it.distance(found, found))
                except ValueError:
                    continue

    def test_headers_that_lie_are_refused(self) -> None:
        data = self.fitted().encode()
        head, _, body = data.partition(b"\n")
        told = json.loads(head)
        wrong: list[dict[str, Any]] = [
            {"version": 2},
            {"format": "pickle"},
            {"kind": "nothing"},
            {"kind": 7},
            {"fields": []},
            {"arrays": []},
            {"arrays": [["x", "|O", [1]]]},
            {"arrays": [["x", "<f8", [1 << 60]]]},
            {"arrays": [["x", "<f8", [-1]]]},
            {"arrays": [["x", "<f8", [True]]]},
            {"arrays": "no"},
        ]
        for change in wrong:
            with pytest.raises(ArtifactCorrupt):
                decode(json.dumps({**told, **change}).encode() + b"\n" + body)


class DetectorConformance:
    """`name` is the detector's in the table; `values(rows, seed, share)`: of rows of which `share` come from elsewhere."""

    name: str
    kind: str
    rows = 4000
    window = 400
    found_from = 0.5  # a window of which so much comes from elsewhere is always over the limit

    def values(self, rows: int, seed: int, share: float = 0.0) -> Any:
        raise NotImplementedError("a subclass makes its values")

    def made(self) -> tuple[Detector[Any], Sketch, Any]:
        sketch, lifted = SKETCHES.load(self.kind).fit(self.values(self.rows, 1))
        return DETECTORS.load(self.name)(), sketch, lifted

    def current(self, sketch: Sketch, seed: int, share: float = 0.0) -> Sketch:
        return sketch.of(sketch.lift(self.values(self.window, seed, share)))

    def test_compares_the_kind(self) -> None:
        assert self.kind in DETECTORS.load(self.name).kinds

    def test_nothing_lies_between_alike(self) -> None:
        detector, sketch, _ = self.made()
        assert detector.distance(sketch, sketch) == pytest.approx(0, abs=1e-9)

    def test_grows_with_what_is_strange(self) -> None:
        detector, sketch, _ = self.made()
        means = [
            float(np.mean([detector.distance(sketch, self.current(sketch, seed, share)) for seed in range(10, 18)]))
            for share in (0.0, 0.3, 0.6, 1.0)
        ]
        assert all(math.isfinite(mean) and mean >= 0 for mean in means)
        assert means == sorted(means)
        assert means[-1] > means[0]

    def test_small_and_odd_windows_have_a_distance(self) -> None:
        detector, sketch, _ = self.made()
        for rows in (1, 2, 5):
            found = detector.distance(sketch, sketch.of(sketch.lift(self.values(rows, 3))))
            assert math.isfinite(found)
            assert found >= 0

    def test_shrinks_with_rows_as_its_order_says(self) -> None:
        detector, sketch, lifted = self.made()
        if not detector.order:
            pytest.skip("its distance does not scale with the number of rows")
        chance = np.random.default_rng(2)

        def typical(size: int) -> float:
            drawn = (sketch.of(lifted[chance.permutation(self.rows)[:size]]) for _ in range(100))
            return float(np.quantile([detector.distance(sketch.less(current), current) for current in drawn], 0.8))

        small, large = 100, 400
        ratio = ((1 / small + 1 / (self.rows - small)) / (1 / large + 1 / (self.rows - large))) ** (detector.order / 2)
        assert typical(small) / max(typical(large), 1e-12) == pytest.approx(ratio, rel=0.35)

    def test_limits_hold_and_drift_is_found(self) -> None:
        """At a declared 5 %, clean windows are over between 0 and 10 % of the time, strange ones always."""
        detector, sketch, lifted = self.made()
        chance = np.random.default_rng(3)
        drawn = (sketch.of(lifted[chance.permutation(self.rows)[: self.window]]) for _ in range(300))
        limit = far_quantile(np.array([detector.distance(sketch.less(current), current) for current in drawn]), 0.05)
        clean = [detector.distance(sketch, self.current(sketch, seed)) > limit for seed in range(100, 220)]
        assert np.mean(clean) <= 0.13
        strange = [detector.distance(sketch, self.current(sketch, seed, self.found_from)) > limit for seed in range(300, 320)]
        assert all(strange)


class StreamingConformance:
    """`made()` gives a fresh detector."""

    values_a_change = 400  # within so many values a jump from 10 to 40 % is found
    false_alarms = 6  # of 20 streams of 5,000 values, at most

    def made(self) -> Streaming:
        raise NotImplementedError("a subclass makes its detector")

    def bits(self, seed: int, before: float, after: float, at: int, count: int) -> list[float]:
        chance = random.Random(seed)
        return [float(chance.random() < (before if n < at else after)) for n in range(count)]

    def test_is_quiet_while_nothing_changes(self) -> None:
        alarms = 0
        for seed in range(20):
            detector = self.made()
            alarms += max(detector.update(value) for value in self.bits(seed, 0.1, 0.1, 0, 5000))
        assert alarms <= self.false_alarms

    def test_finds_a_jump(self) -> None:
        for seed in range(20):
            detector = self.made()
            found = [n for n, value in enumerate(self.bits(seed, 0.1, 0.4, 1000, 1000 + self.values_a_change)) if detector.update(value)]
            assert any(n >= 1000 for n in found), seed

    def test_its_state_is_all_of_it(self) -> None:
        stream = self.bits(3, 0.1, 0.3, 800, 2000)
        whole, half = self.made(), self.made()
        for value in stream[:777]:
            whole.update(value)
            half.update(value)
        half = type(half).parse(json.loads(json.dumps(half.as_json())))
        assert [whole.update(value) for value in stream[777:]] == [half.update(value) for value in stream[777:]]
        assert whole.as_json() == half.as_json()

    def test_its_memory_is_bounded(self) -> None:
        detector = self.made()
        for value in self.bits(4, 0.2, 0.2, 0, 60_000):
            detector.update(value)
        assert len(json.dumps(detector.as_json())) < 20_000

    def test_a_state_that_is_none_is_refused(self) -> None:
        broken: list[Any] = [{}, [], None, {"delta": "x"}, {**self.made().as_json(), "rows": [[1]], "total": "a"}]
        for value in broken:
            with pytest.raises(ValueError):
                type(self.made()).parse(value)
