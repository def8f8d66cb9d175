"""Quantities as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import units


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("30m", 1800), ("1.5h", 5400), (" 2 d ", 172800), ("250ms", 0.25), ("1w", 604800), (90, 90), (1.5, 1.5)],
)
def test_seconds(text: str | float, expected: float) -> None:
    assert units.seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"), [("512MiB", 512 << 20), ("2 GB", 2 * 10**9), ("1.5KiB", 1536), ("10", 10), ("7B", 7), (1024, 1024)]
)
def test_sizes(text: str | int, expected: int) -> None:
    assert units.size_bytes(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("5%", 0.05), ("0.05", 0.05), (0.5, 0.5), ("100 %", 1.0)])
def test_fractions(text: str | float, expected: float) -> None:
    assert units.fraction(text) == pytest.approx(expected)


@pytest.mark.parametrize(("text", "expected"), [("20USD", 20.0), ("0.5 USD", 0.5), ("3", 3.0), (7, 7.0)])
def test_money(text: str | float, expected: float) -> None:
    assert units.usd(text) == pytest.approx(expected)


@pytest.mark.parametrize("read", [units.usd, units.seconds, units.size_bytes, units.fraction])
@pytest.mark.parametrize("text", ["", "x", "5 parts", "-3m", "1e3s", "5%%", "MiB", "1,5h"])
def test_anything_else_is_refused_with_the_value(read: object, text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        read(text)  # type: ignore[operator]  # each takes text


@given(st.integers(0, 10**15))
def test_shown_sizes_are_short(count: int) -> None:
    assert len(units.show_bytes(count)) <= 12


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0123, "12 ms"), (3.21, "3.2 s"), (75, "1 min 15 s"), (3720, "1 h 2 min"), (59.9, "59.9 s"), (59.99, "1 min 0 s")],
)
def test_shown_seconds(value: float, shown: str) -> None:
    assert units.show_seconds(value) == shown
