"""Quantiles against exact ones, merging against adding, and bytes that no sketch made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.windows.sketch import ACCURACY, BUCKETS, HIGHEST, LOWEST, Sketch, buckets, value_of

AMOUNTS = st.floats(LOWEST, HIGHEST)
LISTS = st.lists(AMOUNTS, min_size=1, max_size=300)
SHARES = st.floats(0, 1)


def exact(values: list[float], share: float) -> float:
    return sorted(values)[math.floor(share * (len(values) - 1))]


@given(LISTS, SHARES)
def test_a_quantile_is_within_one_percent_of_the_value_at_its_rank(values: list[float], share: float) -> None:
    told, true = Sketch.of(values).quantile(share), exact(values, share)
    assert abs(told - true) <= ACCURACY * true


@pytest.mark.parametrize("draw", ["lognormal", "pareto", "uniform", "constant"])
def test_on_a_hundred_thousand_values(draw: str) -> None:
    rng = np.random.default_rng(5)
    values = {
        "lognormal": rng.lognormal(3, 1.5, 100_000),
        "pareto": rng.pareto(1.1, 100_000) + 0.01,
        "uniform": rng.uniform(0.5, 1e6, 100_000),
        "constant": np.full(100_000, 20.0),
    }[draw]
    sketch = Sketch.of(values)
    for share in (0.0, 0.01, 0.5, 0.95, 0.99, 0.999, 1.0):
        true = np.quantile(values, share, method="lower")
        assert abs(sketch.quantile(share) - true) <= ACCURACY * true
    assert sketch.counts.size <= BUCKETS


@given(st.lists(LISTS, max_size=6))
def test_merged_in_any_grouping_it_is_the_sketch_of_all(groups: list[list[float]]) -> None:
    every = Sketch.of([value for group in groups for value in group])
    forwards, backwards = Sketch(), Sketch()
    for group in groups:
        forwards.merge(Sketch.of(group))
    for group in reversed(groups):
        part = Sketch.of(group)
        part.merge(backwards)
        backwards = part
    assert forwards == every
    assert backwards == every
    assert forwards.count == sum(map(len, groups))


@given(st.lists(LISTS, max_size=4))
def test_adding_in_batches_is_adding_at_once(groups: list[list[float]]) -> None:
    sketch = Sketch()
    for group in groups:
        sketch.add(group)
    assert sketch == Sketch.of([value for group in groups for value in group])


@given(st.lists(st.one_of(AMOUNTS, st.floats(0, LOWEST), st.floats(HIGHEST, 1e300)), max_size=100))
def test_bytes_and_back(values: list[float]) -> None:
    sketch = Sketch.of(values)
    assert Sketch.parse(sketch.as_json()) == sketch
    assert len(sketch.as_json()) <= BUCKETS + 1


def test_what_is_below_and_above_is_told_at_the_ends() -> None:
    sketch = Sketch.of([0.0, 1e-9, -5.0, 1e12])
    assert sketch.quantiles((0.0, 0.5, 1.0)) == pytest.approx([0.0, 0.0, HIGHEST], rel=ACCURACY)
    assert buckets(np.array([1e300]))[0] == BUCKETS - 1
    assert value_of(BUCKETS - 1) <= HIGHEST


def test_nothing_has_no_quantile_and_what_is_no_number_is_refused() -> None:
    assert math.isnan(Sketch().quantile(0.5))
    sketch = Sketch.of([1.0])
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError):
            sketch.add([1.0, bad])
    assert sketch == Sketch.of([1.0])


@pytest.mark.parametrize(
    "value",
    [None, {}, "x", [1], [0, 0], [0, 1, 0], [BUCKETS, 1], [0] + [1] * (BUCKETS + 1), [0, -1], [0, 1.5], [0, True], [0, 2**53], [-1, 1]],
)
def test_what_no_sketch_made_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        Sketch.parse(value)
