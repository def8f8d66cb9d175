"""Every sketch and every detector of the tables keeps the promises of their contracts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from penstock.monitoring.drift.adwin import Adwin
from penstock.monitoring.drift.page_hinkley import PageHinkley
from penstock.monitoring.drift.table import BEHIND, DETECTORS, SKETCHES
from penstock.testing.drift import DetectorConformance, SketchConformance, StreamingConformance


def numbers(rows: int, seed: int, share: float = 0.0) -> Any:
    chance = np.random.default_rng(seed)
    strange = chance.random(rows) < share
    return np.where(strange, chance.normal(2.5, 1, rows), chance.normal(0, 1, rows))


def categories(rows: int, seed: int, share: float = 0.0) -> Any:
    chance = np.random.default_rng(seed)
    usual = chance.choice(list("abcdefgh"), rows, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02])
    return np.where(chance.random(rows) < share, chance.choice(list("hij"), rows), usual).tolist()


def texts(rows: int, seed: int, share: float = 0.0) -> Any:
    chance = np.random.default_rng(seed)
    common = [f"word{chr(97 + n)}" for n in range(26)] + [f"w{chr(97 + n % 26)}{chr(97 + n // 26)}x" for n in range(300)]
    odd = [f"strange{chr(97 + n)}" for n in range(20)]
    weight = 1 / np.arange(1, len(common) + 1)
    made = []
    for strange in chance.random(rows) < share:
        own = list(chance.choice(common, 8, p=weight / weight.sum()))
        made.append(" ".join(own[:4] + list(chance.choice(odd, 4)) if strange else own))
    return made


def vectors(rows: int, seed: int, share: float = 0.0) -> Any:
    chance, fixed = np.random.default_rng(seed), np.random.default_rng(0)
    topics = fixed.normal(size=(12, 24))
    which = np.where(chance.random(rows) < share, chance.integers(10, 12, rows), chance.integers(0, 10, rows))
    found = topics[which] + chance.normal(scale=0.7, size=(rows, 24))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def answers(rows: int, seed: int, share: float = 0.0) -> Any:
    chance = np.random.default_rng(seed)
    return ["wrong" if one else "right" for one in chance.random(rows) < 0.1 + 0.6 * share]


OF_KIND = {"numbers": numbers, "counts": categories, "words": texts, "mean_map": vectors, "nearest": vectors, "sample": vectors}


class TestNumbers(SketchConformance):
    kind = "numbers"
    most_bytes = 80_000

    def values(self, rows: int, seed: int) -> Any:
        return np.concatenate([numbers(rows - 1, seed), [np.nan]])


class TestCounts(SketchConformance):
    kind = "counts"

    def values(self, rows: int, seed: int) -> Any:
        return categories(rows, seed)


class TestCountsOfManyNames(SketchConformance):
    kind = "counts"
    most_bytes = 200_000

    def values(self, rows: int, seed: int) -> Any:
        return [f"user{n}" for n in np.random.default_rng(seed).integers(0, 100_000, rows)]

    def same_counts(self, one: Any, other: Any) -> None:
        assert one.rows == other.rows


class TestWords(SketchConformance):
    kind = "words"

    def values(self, rows: int, seed: int) -> Any:
        return texts(rows, seed)


class TestMeanMap(SketchConformance):
    kind = "mean_map"

    def values(self, rows: int, seed: int) -> Any:
        return vectors(rows, seed)

    def same(self, one: Any, other: Any) -> None:
        assert np.allclose(one.total, other.total)

    def test_merges_to_the_same_in_any_order(self) -> None:
        base = self.fitted()
        one, other = (base.of(base.lift(self.values(200, seed))) for seed in (2, 3))
        self.same(one.merge(other), other.merge(one))

    def test_other_directions_are_refused(self) -> None:
        with pytest.raises(ValueError):
            self.fitted(seed=1).merge(self.fitted(seed=2))


class TestNearest(SketchConformance):
    kind = "nearest"

    def values(self, rows: int, seed: int) -> Any:
        return vectors(rows, seed)

    def test_another_sample_is_refused(self) -> None:
        with pytest.raises(ValueError):
            self.fitted(seed=1).merge(self.fitted(seed=2))


class TestSample(SketchConformance):
    kind = "sample"

    def values(self, rows: int, seed: int) -> Any:
        return vectors(rows, seed)

    def same_counts(self, one: Any, other: Any) -> None:
        assert np.array_equal(one.vectors, other.vectors)


def test_every_sketch_is_held_to_the_suite() -> None:
    assert {suite.kind for suite in SketchConformance.__subclasses__()} == set(SKETCHES.names()) == set(OF_KIND)


PAIRS = sorted((name, kind) for name in DETECTORS.names() for kind in DETECTORS.load(name).kinds)


@pytest.mark.parametrize(("name", "kind"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
class TestDetectors:
    """Every detector over every kind of sketch that it compares."""

    @pytest.fixture
    def suite(self, name: str, kind: str) -> DetectorConformance:
        made = DetectorConformance()
        made.name, made.kind = name, kind
        if name == "classifier":
            made.rows, made.window = 1000, 200
        made.values = answers if name == "rise" else OF_KIND[kind]  # type: ignore[method-assign]
        return made

    @pytest.mark.parametrize("promise", [name for name in dir(DetectorConformance) if name.startswith("test_")])
    def test_promise(self, suite: DetectorConformance, promise: str, name: str) -> None:
        if name == "classifier" and promise == "test_nothing_lies_between_alike":
            pytest.skip("rows that are on both sides are nearest to themselves")
        getattr(suite, promise)()


def test_signals_stand_on_detectors_that_fit() -> None:
    for signal, behind in BEHIND.items():
        for name, kind in behind:
            assert kind in DETECTORS.load(name).kinds, signal


class TestAdwin(StreamingConformance):
    def made(self) -> Adwin:
        return Adwin(0.002)


class TestPageHinkley(StreamingConformance):
    def made(self) -> PageHinkley:
        return PageHinkley(threshold=8, tolerance=0.05, mean=0.1)


class TestPageHinkleyThatLearnsTheMean(StreamingConformance):
    def made(self) -> PageHinkley:
        return PageHinkley(threshold=20, tolerance=0.02)
