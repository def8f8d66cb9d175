"""Windows against counting row by row; batches of any size; merging; rows that are none; a bounded number of slices."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.windows.columns import columns, readable
from penstock.monitoring.windows.folding import FORGET_S, Slices, fold
from penstock.monitoring.windows.sketch import Sketch
from penstock.monitoring.windows.window import MOST_LABELS, OTHER, Cell, Cells, Window, by_slice, by_version, merge_cells, merged, whole
from penstock.testing.windows import ROWS, T, folded, row


@given(ROWS)
def test_counts_are_those_of_counting_row_by_row(rows: list[dict[str, Any]]) -> None:
    cells = folded(rows, "channel")
    live = [r for r in rows if r["shadow_of"] is None and r["fallback_for"] is None]
    window = whole(cells)
    assert window["requests"] == len(live)
    assert window["ok"] == sum(r["status"] < 400 for r in live)
    assert window["gone"] == sum(r["status"] == 499 for r in live)
    assert window["refused"] == sum(400 <= r["status"] < 499 for r in live)
    assert window["failed"] == sum(r["status"] >= 500 for r in live)
    assert window["ok"] + window["gone"] + window["refused"] + window["failed"] == len(live)
    assert window["blocked"] == sum(any(":block:" in flag for flag in r["flags"]) for r in live)
    assert window["retried"] == sum(r["attempts"] > 1 for r in live)
    assert window["cost_usd"] == sum(r["cost_usd"] for r in live)
    assert window["confidence"] == sum(r["confidence"] or 0.0 for r in live)
    assert window.confidences.sum() == window["sure"] == sum(r["confidence"] is not None for r in live)
    assert window.labels == Counter(r["label"] for r in live if r["label"])
    assert window.sketch("total_ms") == Sketch.of([r["total_ms"] for r in live if 200 <= r["status"] < 300 and r["total_ms"] > 0])
    assert whole(cells, "shadow")["requests"] == sum(r["shadow_of"] is not None for r in rows)
    named = {version: w["requests"] for version, w in by_version(cells).items()}
    assert named == Counter(r["version"] for r in live if r["version"])
    channels = [r["metadata"]["channel"] if isinstance(r["metadata"], dict) else "web" for r in live if r["metadata"]]
    assert {name: w["requests"] for name, w in by_slice(cells).items()} == Counter(f"channel={c}" for c in channels)


@given(ROWS, st.integers(1, 9), st.integers(1, 9))
def test_batches_of_any_size_make_the_same_windows(rows: list[dict[str, Any]], first: int, second: int) -> None:
    assert folded(rows, "channel", batch=first) == folded(rows, "channel", batch=second)


@given(ROWS, ROWS)
def test_merged_windows_are_the_windows_of_all_rows(rows: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
    cells = folded(rows, "channel")
    merge_cells(cells, folded(more, "channel"))
    assert cells == folded([*rows, *more], "channel")
    halves = [whole(folded(part)) for part in (rows, more)]
    assert merged(halves) == merged(reversed(halves)) == whole(folded([*rows, *more]))


def test_a_request_without_times_counts_and_is_no_fast_one() -> None:
    direct = {"total_ms": 0.0, "first_ms": 0.0, "queue_ms": 0.0, "attempts": 0, "replica": None}
    window = whole(folded([row(0, total_ms=80.0, first_ms=20.0), *(row(n, **direct) for n in range(1, 10))]))
    assert window["requests"] == 10
    assert window.sketch("total_ms") == Sketch.of([80.0])
    assert window.sketch("first_ms") == Sketch.of([20.0])


def test_part_of_the_rows_of_a_batch() -> None:
    rows = [row(n, T + n) for n in range(10)]
    placed = Slices(("key",)).place(columns(rows))
    first: Cells = {}
    second: Cells = {}
    fold(first, placed, 0, 4)
    fold(second, placed, 4, 10)
    assert (whole(first)["requests"], whole(second)["requests"]) == (4, 6)
    assert by_slice(first)["key=key-1"]["requests"] == 4


BAD = [
    {"total_ms": "12"},
    {"total_ms": None},
    {"total_ms": -1.0},
    {"status": [200]},
    {"cost_usd": 1e300},
    {"prompt_tokens": 2**70},
    {"confidence": 1.5},
    {"confidence": "sure"},
    {"confidence": {}},
]


@pytest.mark.parametrize("change", BAD)
def test_a_row_that_is_no_record_is_left_out_and_counted(change: dict[str, Any]) -> None:
    rows = [row(1), {**row(2), **change}, row(3)]
    found = columns(rows)
    assert (len(found.rows), found.unread) == (2, 1)
    assert not readable(rows[1])
    lacking = {name: value for name, value in row(4).items() if name != "attempts"}
    assert columns([lacking]).unread == 1


@pytest.mark.parametrize(
    "change",
    [
        {"version": ["1"]},
        {"replica": {}},
        {"label": ["a"]},
        {"label": 7},
        {"flags": "x"},
        {"flags": [None]},
        {"metadata": [1]},
        {"metadata": "{"},
        {"metadata": {"channel": {"deep": 1}}},
        {"key": "a\x00b" * 100},
    ],
)
def test_odd_names_are_no_reason_to_fail(change: dict[str, Any]) -> None:
    cells = folded([{**row(1), **change}], "channel", "key", "label")
    assert whole(cells)["requests"] == 1
    assert all(part.isprintable() and len(part) < 130 for cell in cells for part in cell)


def test_slices_beyond_the_bound_go_together() -> None:
    slices = Slices(("key",), most=3)
    rows = [row(n, T, key=f"key-{n % 10}") for n in range(100)]
    found = by_slice(folded(rows, batch=7, slices=slices))
    assert {name: w["requests"] for name, w in found.items()} == {"key=key-0": 10, "key=key-1": 10, "key=key-2": 10, f"key={OTHER}": 70}
    assert slices.of(rows[5])[1] == Cell("live", "1", "", f"key={OTHER}")
    again = Slices(("key",), most=3)
    again.restore(slices.as_json())
    assert by_slice(folded(rows, slices=again)).keys() == found.keys()
    later = [row(n, T + FORGET_S + 1, key=f"new-{n}") for n in range(2)]
    assert set(by_slice(folded(later, slices=slices))) == {"key=new-0", "key=new-1"}


def test_labels_beyond_the_bound_go_together() -> None:
    window = whole(folded([row(n, label=f"label-{n}") for n in range(MOST_LABELS + 10)]))
    assert len(window.labels) == MOST_LABELS + 1
    assert window.labels[OTHER] == 10


@pytest.mark.parametrize("value", [None, [], {"key": []}, {"key": {"a": "b"}}])
def test_slices_of_no_sense_are_refused(value: object) -> None:
    with pytest.raises(ValueError):
        Slices(("key",)).restore(value)


def test_an_empty_window_is_the_neutral_one() -> None:
    window = whole(folded([row(1), row(2, status=500)]))
    assert merged([Window(), window, Window()]) == window
    assert np.isnan(Window().sketch("total_ms").quantile(0.5))
