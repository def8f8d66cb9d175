"""When requests are due: the counts and times that the shape says, for any shape."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.loadtest.arrivals import Piece, Shape, constant, parse_rates, ramp, spike, step, times
from penstock.core.errors import BadInput

PIECES = st.lists(st.builds(Piece, st.floats(0.5, 10), st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=4)


@given(PIECES, st.sampled_from(["uniform", "poisson"]), st.integers(0, 99))
def test_times_ascend_and_lie_within_the_shape(pieces: list[Piece], arrivals: str, seed: int) -> None:
    shape = Shape("any", tuple(pieces))
    found = list(times(shape, arrivals, seed))  # type: ignore[arg-type]
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(found))
    assert all(-1e-9 <= at <= shape.seconds + 1e-9 for at in found)
    if arrivals == "uniform":
        assert abs(len(found) - shape.requests) <= 1


@given(PIECES)
def test_each_piece_gets_its_share(pieces: list[Piece]) -> None:
    shape, at = Shape("any", tuple(pieces)), 0.0
    found = list(times(shape, "uniform", 0))
    for piece in pieces:
        inside = sum(at <= moment < at + piece.seconds for moment in found)
        assert abs(inside - piece.requests) <= 1 + 1e-6
        at += piece.seconds


def test_poisson_gaps_vary_as_they_should() -> None:
    found = list(times(constant(1000, 60), "poisson", 3))
    gaps = [b - a for a, b in itertools.pairwise(found)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert mean == pytest.approx(0.001, rel=0.02)
    assert variance**0.5 / mean == pytest.approx(1.0, abs=0.03)  # an exponential's coefficient of variation
    assert found == list(times(constant(1000, 60), "poisson", 3)) != list(times(constant(1000, 60), "poisson", 4))


def test_a_ramp_rises_and_a_spike_falls_back() -> None:
    assert ramp(0, 100, 10).requests == 500
    rising = list(times(ramp(0, 100, 10), "uniform", 0))
    assert sum(at < 5 for at in rising) == 125  # a quarter in the first half
    shape = spike(10, 100, 10)
    assert [shape.rate_at(at) for at in (1, 5, 9, 11)] == [10, 100, 10, 0]
    assert [piece.start for piece in step([1, 2, 4], 30).pieces] == [1, 2, 4]


@pytest.mark.parametrize("bad", [lambda: constant(0, 10), lambda: constant(10, 0), lambda: ramp(-1, 5, 5), lambda: constant(1e9, 1e3)])
def test_impossible_shapes_are_refused(bad: object) -> None:
    with pytest.raises(BadInput):
        bad()  # type: ignore[operator]


def test_rates_are_read_or_refused_by_name() -> None:
    assert parse_rates("10,20", "--step", 1) == [10, 20]
    with pytest.raises(BadInput, match="--ramp '10' is not two rates"):
        parse_rates("10", "--ramp", 2, 2)
