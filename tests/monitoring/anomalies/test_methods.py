"""Each method keeps the shipped promises; on noise of a real service false alarms are as declared, and what was planted is found."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.monitoring.anomalies.contract import History, Settings
from penstock.monitoring.anomalies.esd import outliers
from penstock.monitoring.anomalies.season import find_season
from penstock.monitoring.anomalies.table import METHODS
from penstock.monitoring.anomalies.tail import upper_limit
from penstock.testing.anomalies import DAY_S, PER_DAY, MethodConformance, Noise, blocks, followed, gauss, heavy, lognormal, parted, series

MINUTE_S = 60.0


class TestSeasonal(MethodConformance):
    name = "seasonal"


class TestStatic(MethodConformance):
    name, swing = "static", 0.0


class TestChangePoint(MethodConformance):
    name = "change_point"


class TestIsolationForest(MethodConformance):
    name, columns, parts_what_is_alike = "isolation_forest", 3, False

    @pytest.mark.parametrize("noise", [gauss, *(pytest.param(each, marks=pytest.mark.thorough) for each in (lognormal, heavy))])
    def test_false_alarms_are_as_rare_as_declared(self, noise: Noise) -> None:
        super().test_false_alarms_are_as_rare_as_declared(noise)  # a minute each


def real(mirror: Path, kind: str) -> Any:
    """Arrivals of the Azure LLM inference trace of 2023 in steps of 20 s, as factors of their mean; in blocks of 40 minutes of windows."""
    with (mirror / "azure_llm_trace_2023" / f"AzureLLMInferenceTrace_{kind}.csv").open() as file:
        seconds = np.array([datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in csv.DictReader(file)])
    counts = np.bincount(((seconds - seconds[0]) / 20).astype(int))[:-1]
    return blocks(counts / counts.mean(), 40)


def alarms_on_real_noise(mirror: Path, method: str, kind: str, seed: int) -> int:
    """A week of minutes is learnt, two days (2,880 points) are followed; declared 0.1 % of points."""
    whole = series(9, real(mirror, kind), seed, swing=0.0 if method == "static" else 0.6, step_s=MINUTE_S)
    history, rest = parted(whole, 7 * 1440)
    model = METHODS.load(method).learn(history, Settings(0.001, DAY_S))
    return sum(one.ratio > 1 for one in followed(model, rest))


@pytest.mark.parametrize("kind", ["conv", "code"])
@pytest.mark.parametrize("method", ["seasonal", "static"])
def test_on_noise_of_a_real_service_false_alarms_are_as_declared(mirror: Path, method: str, kind: str) -> None:
    """Of 17,280 points 17 are allowed; as the noise comes in bursts, three times as many may be chance."""
    assert sum(alarms_on_real_noise(mirror, method, kind, seed) for seed in range(6)) <= 52


@pytest.mark.parametrize("kind", ["conv", "code"])
def test_on_noise_of_a_real_service_no_change_is_seen_where_there_is_none(mirror: Path, kind: str) -> None:
    """A change is told for 30 points or more, so at 0.1 % one of ten runs may have one; of ten, not more than three."""
    assert sum(alarms_on_real_noise(mirror, "change_point", kind, seed) > 0 for seed in range(10)) <= 3


@pytest.mark.parametrize(("method", "within"), [("seasonal", 15), ("change_point", 240)])
def test_on_noise_of_a_real_service_what_was_planted_is_found(mirror: Path, method: str, within: int) -> None:
    """Most requests stay away, or twice as many come, for hours; not every time of day is as easy, so three of four must be found."""
    found = 0
    for seed in range(8):
        whole = series(9, real(mirror, "conv"), seed, step_s=MINUTE_S)
        begins = 7 * 1440 + 300 + 150 * seed
        whole.values[begins : begins + 360] *= 2.2 if seed % 2 else 0.3
        history, rest = parted(whole, 7 * 1440)
        model = METHODS.load(method).learn(history, Settings(0.001, DAY_S))
        ratios = [one.ratio for one in followed(model, rest)]
        first = begins - 7 * 1440
        found += max(ratios[first : first + within]) > 1
    assert found >= 6


def test_a_season_is_found_and_judged_by_the_others() -> None:
    history = series(7, gauss, 0)
    season = find_season(history.at, history.values[:, 0], history.step_s, DAY_S)
    assert season is not None
    quiet = series(7, lambda _, count: np.ones(count), 0)
    pattern = quiet.values[:, 0] - np.median(quiet.values[:, 0])
    assert np.abs(season.at(history.at) - pattern).max() < 0.15 * np.ptp(pattern)
    assert season.apart.shape == (7, len(season.shape))
    assert find_season(history.at[: 2 * PER_DAY], history.values[: 2 * PER_DAY, 0], history.step_s, DAY_S) is None
    odd = history.values[:, 0].copy()
    odd[3 * PER_DAY : 3 * PER_DAY + 100] *= 10
    spoiled = find_season(history.at, odd, history.step_s, DAY_S)
    assert spoiled is not None
    assert np.abs(spoiled.at(history.at) - season.at(history.at)).max() < 0.1 * np.ptp(pattern)


def test_seasonal_without_enough_seasons_says_nothing() -> None:
    history, _ = parted(series(3, gauss, 0), 2 * PER_DAY)
    assert METHODS.load("seasonal").learn(history, Settings()) is None


def test_busy_hours_may_vary_more_than_quiet_ones() -> None:
    whole = series(9, gauss, 0)
    history, rest = parted(whole, 8 * PER_DAY)
    model = METHODS.load("seasonal").learn(history, Settings())
    spreads = [model.forecast.spread_at(float(at)) for at in rest.at]
    level = series(1, lambda _, count: np.ones(count), 0).values[:, 0]
    assert np.corrcoef(spreads, level)[0, 1] > 0.9


def test_a_change_is_told_with_its_beginning_and_becomes_normal() -> None:
    whole = series(9, gauss, 1, swing=0.0)
    history, rest = parted(whole, 7 * PER_DAY)
    rest.values[100:] += 15.0
    model = METHODS.load("change_point").learn(history, Settings())
    found = followed(model, rest)
    first = next(n for n, one in enumerate(found) if one.ratio > 1)
    assert 100 <= first <= 115
    assert found[first].why["side"] == "above"
    assert abs(found[first].why["since"] - rest.at[100]) <= 5 * 300.0
    assert sum(one.ratio > 1 for one in found[:100]) == 0
    assert sum(one.ratio > 1 for one in found[first + 130 :]) == 0, "the new level is normal by then"


def test_one_odd_point_is_no_change_of_level() -> None:
    history, rest = parted(series(9, gauss, 1, swing=0.0), 7 * PER_DAY)
    rest.values[100] *= 100
    assert max(one.ratio for one in followed(METHODS.load("change_point").learn(history, Settings()), rest)[:110]) <= 1


def test_the_forest_sees_what_no_signal_shows_alone() -> None:
    """Latency goes with load; then it is high while load is low: both are usual by themselves."""
    rng = np.random.default_rng(0)
    base = series(9, gauss, 0)
    load = base.values[:, 0]
    both = np.column_stack([load, 20 + load * (1 + 0.05 * rng.normal(size=len(load)))])
    both[:, 0] *= np.exp(0.25 * np.repeat(rng.normal(size=len(load) // 6 + 1), 6)[: len(load)])
    both[:, 1] = 20 + both[:, 0] * (1 + 0.05 * rng.normal(size=len(load)))
    history, rest = parted(History(base.at, both, base.step_s), 7 * PER_DAY)
    model = METHODS.load("isolation_forest").learn(history, Settings(0.01))
    usual = followed(model, parted(rest, 100)[0])
    crossed = rest.values[100:140].copy()
    high, low = np.quantile(history.values[:, 1], 0.97), np.quantile(history.values[:, 0], 0.1)
    crossed[:, 0], crossed[:, 1] = low, high
    odd = followed(model, History(rest.at[100:140], crossed, base.step_s))
    assert sum(one.ratio > 1 for one in usual) <= 5
    assert sum(one.ratio > 1 for one in odd) > 20
    assert odd[0].why["farthest"] in (0, 1)


@pytest.mark.parametrize(
    ("draw", "chance", "true"),
    [
        (lambda rng, n: rng.normal(size=n), 0.001, 3.090),
        (lambda rng, n: rng.exponential(size=n), 0.001, 6.908),
        (lambda rng, n: rng.standard_t(3, size=n), 0.001, 10.215),
        (lambda rng, n: rng.uniform(size=n), 0.001, 0.999),
    ],
)
def test_the_limit_of_a_tail(draw: Any, chance: float, true: float) -> None:
    found = [upper_limit(draw(np.random.default_rng(seed), 4000), chance) for seed in range(30)]
    assert np.mean(found) == pytest.approx(true, rel=0.12)
    assert np.mean(found) >= 0.98 * true, "rather too high than too low"


def test_the_limit_of_few_or_equal_points() -> None:
    assert upper_limit(np.zeros(500), 0.001) == 0.0
    assert upper_limit(np.arange(10.0), 0.001) == pytest.approx(9.0, abs=0.1)


def test_outliers_by_rosner() -> None:
    """His example (Technometrics 1983, table): of 54 values at 5 %, three are outliers, though one by one they hide each other."""
    text = """-0.25 0.68 0.94 1.15 1.20 1.26 1.26 1.34 1.38 1.43 1.49 1.49 1.55 1.56 1.58 1.65 1.69 1.70 1.76 1.77 1.81 1.91 1.94 1.96 1.99
    2.06 2.09 2.10 2.14 2.15 2.23 2.24 2.26 2.35 2.37 2.40 2.47 2.54 2.62 2.64 2.90 2.92 2.92 2.93 3.21 3.26 3.30 3.59 3.68 4.30 4.64 5.34
    5.42 6.01"""
    values = np.array([float(word) for word in text.split()])
    found = outliers(values, 10, 0.05)
    assert {5.34, 5.42, 6.01} <= set(values[found])
    assert set(values[found]) <= {5.34, 5.42, 6.01, 4.64, 4.30}, "with the median absolute deviation it may go a little further"
    assert len(outliers(np.random.default_rng(0).normal(size=500), 25, 0.001)) == 0
    assert len(outliers(lognormal(np.random.default_rng(0), 3), 2, 0.05)) == 0
