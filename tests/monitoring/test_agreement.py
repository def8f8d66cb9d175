"""Agreement of people: the published example, and what must hold of any answers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from penstock.monitoring.agreement import cohen, krippendorff, pairs_of

# Krippendorff 2011, section C: four observers, twelve units, missing answers; nominal alpha is 0.743.
ROWS = {
    "a": "1 2 3 3 2 1 4 1 2 . . .",
    "b": "1 2 3 3 2 2 4 1 2 5 . 3",
    "c": ". 3 3 3 2 3 4 2 2 5 1 .",
    "d": "1 2 3 3 2 4 4 1 2 5 1 .",
}
UNITS = [{who: row.split()[n] for who, row in ROWS.items() if row.split()[n] != "."} for n in range(12)]


def test_the_published_example() -> None:
    assert krippendorff(UNITS) == pytest.approx(0.743, abs=0.0005)


def test_full_agreement_and_none_to_speak_of() -> None:
    assert krippendorff([{"a": "x", "b": "x"}, {"a": "y", "b": "y"}]) == 1.0
    assert krippendorff([{"a": "x", "b": "y"}, {"a": "y", "b": "x"}]) < 0
    for nothing in ([], [{"a": "x"}], [{"a": "x", "b": "x"}]):
        assert math.isnan(krippendorff(nothing))


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("xyz")), min_size=1, max_size=40))
def test_kappa_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    ours = cohen(first, second)
    if len({*first, *second}) == 1:
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(float(cohen_kappa_score(first, second)))
    things = [{"ann": a, "bob": b} for a, b in pairs]
    assert pairs_of(things)["ann", "bob"][0] == len(pairs)
    assert math.isnan(value := krippendorff(things)) or value <= 1
