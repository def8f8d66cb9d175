"""Curves in the terminal."""

from __future__ import annotations

import math

from penstock.cli.curves import WIDTH, curve_lines, curves_of
from penstock.store.points import Point


def points(name: str, values: list[float]) -> list[Point]:
    return [Point("run-1", "train", name, n, value, 0.0) for n, value in enumerate(values)]


def test_one_line_a_curve_with_its_ends() -> None:
    curves = curves_of([*points("train.loss", [4.0, 2.0, 1.0, 0.5]), *points("validation.loss", [3.0, 2.5])])
    assert [c["name"] for c in curves] == ["train.loss", "validation.loss"]
    first, second = curve_lines(curves)
    assert first.startswith("train train.loss       █▄▂▁")
    assert "4 → 0.5" in first
    assert "(lowest 2.5, highest 3, 2 points)" in second


def test_a_long_curve_is_thinned_and_nan_is_seen() -> None:
    values = [1 - n / 10_000 for n in range(10_000)]
    line = curve_lines(curves_of(points("x", values)))[0]
    assert line.split("  ")[1].count("█") < WIDTH / 4
    assert "10000 points" in line
    assert "!" in curve_lines(curves_of(points("x", [1.0, math.nan, 2.0])))[0]
    assert "none finite" in curve_lines(curves_of(points("x", [math.inf])))[0]


def test_flat_and_empty() -> None:
    assert "▁▁" in curve_lines(curves_of(points("x", [1.0, 1.0])))[0]
    assert curve_lines(curves_of([])) == []
