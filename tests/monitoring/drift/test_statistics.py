"""Distances agree with other people's; sketches lose nothing that matters; tails and limits hold what they declare."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from penstock.core.errors import DataUnusable
from penstock.monitoring.drift.calibrate import Sizes, calibrated, strangers
from penstock.monitoring.drift.numbers import MOST, Numbers, bits, values_of
from penstock.monitoring.drift.standard import Asked, Reading, combined, kind_of, summaries_of
from penstock.monitoring.drift.table import detector
from penstock.monitoring.drift.tail import far_quantile, pareto

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.floats(), min_size=1, max_size=60))
def test_bits_sort_as_numbers_do_and_come_back(values: list[float]) -> None:
    keys = bits(values)
    finite = [v for v in values if math.isfinite(v)]
    assert values_of(np.sort(keys)[: len(finite)]).tolist() == sorted(v + 0.0 for v in finite)


@given(st.lists(FINITE, min_size=1, max_size=200), st.lists(FINITE, min_size=1, max_size=200), st.lists(FINITE, max_size=200))
def test_numbers_merge_to_the_same_in_any_order(one: list[float], other: list[float], third: list[float]) -> None:
    a, b, c = (Numbers.fit(values)[0] for values in (one, other, third))
    assert a.merge(b).merge(c).encode() == c.merge(a).merge(b).encode() == Numbers.fit([*one, *other, *third])[0].encode()


def test_many_numbers_are_merged_as_if_they_had_been_one() -> None:
    chance = np.random.default_rng(1)
    parts = [chance.normal(n, 10.0**n, 5000) for n in range(5)]
    merged = Numbers.fit(parts[0])[0]
    for part in parts[1:]:
        merged = merged.merge(Numbers.fit(part)[0])
    assert merged.encode() == Numbers.fit(np.concatenate(parts))[0].encode()
    assert len(merged.keys) <= MOST


@pytest.mark.parametrize("shape", ["normal", "lognormal", "far from zero", "few values", "huge range"])
def test_distances_are_those_of_scipy(shape: str) -> None:
    chance = np.random.default_rng(2)
    made: dict[str, Any] = {
        "normal": lambda n, by: chance.normal(by, 1, n),
        "lognormal": lambda n, by: chance.lognormal(by, 1.5, n),
        "far from zero": lambda n, by: 1.7e9 + chance.normal(by * 1000, 5000, n),
        "few values": lambda n, by: chance.binomial(10, 0.3 + by, n).astype(float),
        "huge range": lambda n, by: chance.normal(0, 1, n) * 10.0 ** chance.integers(-8, 8, n) + by,
    }
    one, other = made[shape](20_000, 0.0), made[shape](8_000, 0.1)
    a, b = Numbers.fit(one)[0], Numbers.fit(other)[0]
    assert detector("ks").distance(a, b) == pytest.approx(stats.ks_2samp(one, other).statistic, abs=1e-3)
    wanted = stats.wasserstein_distance(one, other) / one.std()
    assert detector("wasserstein").distance(a, b) == pytest.approx(wanted, rel=0.02, abs=1e-4)


def test_categorical_distances_are_those_of_scipy() -> None:
    from scipy.spatial.distance import jensenshannon

    from penstock.monitoring.drift.counts import Counts

    one, other = {"a": 500.0, "b": 300.0, "c": 200.0}, {"a": 90.0, "b": 80.0, "d": 30.0}
    a, b = Counts(one), Counts(other)
    shares = [[side.get(name, 0) / sum(side.values()) for name in "abcd"] for side in (one, other)]
    assert detector("jensen_shannon").distance(a, b) == pytest.approx(jensenshannon(*shares, base=2))
    table = [[500, 300, 200], [90, 80, 30]]
    c = Counts({"a": 90.0, "b": 80.0, "c": 30.0})
    effect = stats.chi2_contingency(table, correction=False).statistic * (1 / 1000 + 1 / 200)
    assert detector("chi_square").distance(a, c) == pytest.approx(effect)


def test_missing_values_are_a_change_of_their_own() -> None:
    chance = np.random.default_rng(3)
    one, other = chance.normal(size=2000), chance.normal(size=2000)
    other[:600] = np.nan
    a, b = Numbers.fit(one)[0], Numbers.fit(other)[0]
    assert b.missing == 600
    assert detector("ks").distance(a, b) > 0.25
    assert detector("ks").distance(a, Numbers.fit(np.full(50, np.inf))[0]) == pytest.approx(1.0)


@pytest.mark.parametrize("law", [stats.expon(), stats.norm(), stats.chi2(30), stats.pareto(4)], ids=["expon", "norm", "chi2", "pareto"])
def test_far_quantiles_are_near_the_true_ones(law: Any) -> None:
    found = [far_quantile(law.rvs(2000, random_state=seed), 0.001) for seed in range(30)]
    true, spread = law.ppf(0.999), law.ppf(0.999) - law.median()
    assert np.mean(found) == pytest.approx(true, abs=0.12 * spread)


def test_a_tail_of_equal_values_ends_where_they_do() -> None:
    assert far_quantile(np.zeros(500), 0.001) == 0
    assert far_quantile(np.array([0.0] * 990 + [1.0] * 10), 0.0001) == 1.0
    with pytest.raises(ValueError):
        far_quantile(np.zeros(0), 0.1)


@given(st.lists(st.floats(1e-6, 1e6), min_size=5, max_size=100))
def test_a_tail_has_a_shape_within_bounds(excesses: list[float]) -> None:
    shape, scale = pareto(np.array(excesses))
    assert -0.2 <= shape <= 0.5
    assert scale > 0


def test_few_rows_of_a_kind_never_seen_raise_no_alarm() -> None:
    """All reference rows are of one category: a window with two others is within what 3,000 rows can have missed."""
    reference = calibrated({"drift.language": ["en"] * 3000}, [Asked("drift.language", 500)], draws=50)
    standard = reference.standards["drift.language"]
    assert standard.read(["en"] * 498 + ["de"] * 2).ratio <= 1
    assert standard.read(["en"] * 490 + ["de"] * 10).ratio > 1
    assert strangers(500, 3000, 0.001) == 3


@given(st.integers(50, 2000), st.integers(100, 20_000))
def test_drawn_windows_leave_rows_to_compare_with(window: int, reference: int) -> None:
    sizes = Sizes(window, reference)
    assert 1 <= sizes.drawn <= reference - sizes.drawn
    assert 1 <= sizes.luck <= math.sqrt(2)


def test_too_few_rows_are_refused_with_the_way_out() -> None:
    with pytest.raises(DataUnusable) as told:
        calibrated({"drift.length": np.arange(60.0)}, [Asked("drift.length", 50)])
    assert "100" in str(told.value)
    assert "validation" in told.value.way_out


def signals(chance: np.random.Generator, rows: int) -> dict[str, Any]:
    length = chance.lognormal(3, 0.6, rows).round()
    labels = chance.choice(list("abcdefghij"), rows, p=np.arange(1, 11) / 55)
    return {"drift.length": length, "drift.output.labels": labels.tolist(), "drift.output.confidence": chance.beta(8, 2, rows)}


def test_clean_windows_are_over_as_often_as_declared() -> None:
    """Over many references: each signal on its own, and the summary over all three, at 2 %."""
    asked = [Asked(name, 300, 0.02) for name in ("drift.length", "drift.output.labels", "drift.output.confidence")]
    over: dict[str, list[float]] = {}
    for seed in range(24):
        chance = np.random.default_rng(seed)
        reference = calibrated(signals(chance, 1500), asked, draws=300)
        hits = dict.fromkeys([*reference.standards, "drift"], 0)
        for _ in range(60):
            window = signals(chance, 300)
            ratios = {name: standard.read(window[name]).ratio for name, standard in reference.standards.items()}
            for name, ratio in ratios.items():
                hits[name] += ratio > 1
            hits["drift"] += max(ratios.values()) > reference.scales["drift"]["requests/300"]
        for name, count in hits.items():
            over.setdefault(name, []).append(count / 60)
    for name, rates in over.items():
        assert np.mean(rates) <= 0.035, (name, rates)
        assert np.mean(rates) >= 0.001, (name, "limits so wide are no limits", rates)


def test_a_summary_has_the_rate_of_one_signal() -> None:
    """Ten signals that know nothing of each other: without the joint scale, one in ten windows would be over at 1 % each."""
    chance = np.random.default_rng(5)
    names = [f"drift.metadata.f{n}" for n in range(10)]

    def rows(count: int) -> dict[str, Any]:
        return {name: chance.normal(size=count) for name in names}

    reference = calibrated(rows(3000), [Asked(name, 200, 0.01) for name in names], draws=800)
    scale = (
        reference.scales["drift"]["learned/200"]
        if "learned/200" in reference.scales["drift"]
        else reference.scales["drift"]["requests/200"]
    )
    assert scale > 1.05
    hits = over = 0
    for _ in range(400):
        window = rows(200)
        largest = max(reference.standards[name].read(window[name]).ratio for name in names)
        hits += largest > scale
        over += largest > 1
    assert hits / 400 <= 0.025
    assert over / 400 > 0.03


def test_a_declared_limit_is_the_limit() -> None:
    reference = calibrated({"drift.words": ["a b c"] * 200}, [Asked("drift.words", 100, limit=0.2)], draws=50)
    (part,) = reference.standards["drift.words"].parts
    assert (part.detector, part.limit) == ("jensen_shannon", 0.2)
    assert reference.scales == {}


def test_what_counts_as_one_signal() -> None:
    assert combined({"ks": (0.2, 0.1)}) == Reading(0.2, 0.1, {"ks": (0.2, 0.1)})
    both = combined({"mmd": (0.2, 0.1), "novelty": (0.3, 0.6)})
    assert (both.value, both.limit, both.severity) == (2.0, 1.0, "marked")
    assert Reading(0.0, 0.0, {}).severity == "none"
    assert kind_of("drift.words") == "input"
    assert kind_of("drift.metadata.amount") == "metadata"
    assert summaries_of("drift.output.labels") == ["drift.output", "drift"]
