"""Shares that are not as wanted are flagged, those that are hardly ever; sessions count once, in bounded memory."""

from __future__ import annotations

import json

import numpy as np
import pytest

from penstock.monitoring.ratio import check_ratio
from penstock.monitoring.units import MOST, Units


def test_a_lost_tenth_is_flagged_and_luck_is_not() -> None:
    assert check_ratio(5000, 4500, 0.5).mismatch
    assert check_ratio(5000, 4500, 0.5).p < 1e-5
    assert not check_ratio(505, 495, 0.5).mismatch
    assert not check_ratio(0, 0, 0.5).mismatch


def test_looking_after_every_unit_flags_right_shares_in_no_more_than_one_of_a_thousand() -> None:
    chance = np.random.default_rng(3)
    flagged = 0
    for share in (0.5, 0.1):
        draws = np.cumsum(chance.random((400, 1000)) < share, axis=1)
        for run in draws:
            flagged += any(check_ratio(n + 1 - int(run[n]), int(run[n]), share).mismatch for n in range(0, 1000, 10))
    assert flagged <= 4


def test_chi_square_is_as_scipy_has_it() -> None:
    from scipy.stats import chisquare

    assert check_ratio(60, 40, 0.5).p == pytest.approx(chisquare([60, 40], [50, 50]).pvalue)


def test_a_session_counts_once_also_after_a_restart() -> None:
    units = Units()
    assert [units.admit(s) for s in ("a", "b", "a")] == [True, True, False]
    again = Units.parse(json.loads(json.dumps(units.as_json())))
    assert [again.admit(s) for s in ("a", "c")] == [False, True]


def test_memory_is_bounded_and_the_sample_fair() -> None:
    units = Units()
    counted = sum(units.admit(f"session-{n}") for n in range(60_000))
    assert len(units.seen) <= MOST
    assert counted > MOST
    assert not any(units.admit(f"session-{n}") for n in range(60_000)), "who was counted, or left out, is not counted later"
