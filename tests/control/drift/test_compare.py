"""Comparing tables: chance holds at its declared rate, small differences of many rows are called small, odd columns do no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from penstock.control.drift.compare import compare
from penstock.control.drift.page import page
from penstock.control.drift.tables import kind_of


def write(folder: Path, name: str, **columns: Any) -> str:
    path = folder / f"{name}.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return str(path)


def test_chance_is_as_declared(tmp_path: Path) -> None:
    """40 pairs of tables from one source with 5 columns each, at 10 % for a pair."""
    chance, drifted = np.random.default_rng(2), 0
    for number in range(40):
        sides = [
            write(
                tmp_path,
                f"{number}{side}",
                **{f"n{c}": chance.normal(size=400) for c in range(3)},
                **{f"c{c}": chance.choice(list("abcde"), 400) for c in range(2)},
            )
            for side in "ab"
        ]
        report = compare(*sides, None, false_alarms=0.1)
        drifted += any(row["verdict"] != "same" for row in report["columns"])
    assert drifted <= 10


def test_many_rows_make_a_small_difference_sure_not_large(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    one = write(tmp_path, "a", x=chance.normal(size=100_000))
    other = write(tmp_path, "b", x=chance.normal(0.05, 1, size=100_000))
    (row,) = compare(one, other, None)["columns"]
    assert row["verdict"] == "small"
    assert row["value"] < 0.05


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ([1.5, 2.5] * 20, [1, 2] * 20, "numbers"),
        (list(range(40)), list(range(40)), "numbers"),
        ([1, 2, 3] * 20, [1, 2] * 30, "categories"),
        ([True, False], [True, True], "categories"),
        (["web", "app"] * 20, ["web"] * 40, "categories"),
        (["where is my new card please"] * 20, ["tell me about the loan now"] * 20, "text"),
        ([f"u{n}" for n in range(60)], [f"v{n}" for n in range(60)], None),
        ([1, 2], ["a", "b"], None),
        ([None, None], [None, None], None),
        ([[1], [2]], [[1], [2]], None),
    ],
)
def test_kinds_of_columns(one: list[Any], other: list[Any], kind: str | None) -> None:
    assert kind_of(pl.Series(one), pl.Series(other)) == kind


def test_hostile_columns_make_a_page_all_the_same(tmp_path: Path) -> None:
    wild = ["<script>alert(1)</script> is what they say here", "\x00 nul in a text of words", "", None] * 50
    one = write(tmp_path, "a", x=[float("nan"), float("inf"), None, 1.0] * 50, t=wild, c=["<b>", None, "é", "b"] * 50)
    other = write(tmp_path, "b", x=[0.0] * 200, t=["quite another text than the first one"] * 200, c=["<b>"] * 200)
    report = compare(one, other, None)
    assert {row["column"] for row in report["columns"]} == {"x", "t", "c"}
    drawn = page(report)
    assert "<script>" not in drawn
    assert "<b>" not in drawn
