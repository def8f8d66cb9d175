"""Series as text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.figures import signal_figure
from penstock.cli.sparkline import BLOCKS, sparkline


@given(st.lists(st.floats(-1e6, 1e6), max_size=200), st.integers(1, 60))
def test_it_is_never_wider_than_asked(values: list[float], width: int) -> None:
    drawn = sparkline(values, width)
    assert len(drawn) == min(width, len(values))
    assert set(drawn) <= set(BLOCKS)


def test_shapes() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == BLOCKS
    assert sparkline([5, 5, 5]) == "▁▁▁"
    assert sparkline([]) == ""
    assert sparkline([math.nan, 1.0, math.inf, 2.0]) == "▁█"
    assert sparkline([0, 0, 9, 9], 2) == "▁█"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("error_rate", 0.0125, "1.25 %"),
        ("live.accuracy", 0.9, "90 %"),
        ("host.cpu", 0.333, "33.3 %"),
        ("latency.p95_ms", 1234.5, "1,234 ms"),
        ("latency.p50_ms", 1.234, "1.23 ms"),
        ("cost.day", 1234.5, "1,234.50 USD"),
        ("cost.request", 0.00012, "0.00012 USD"),
        ("host.network_bytes_per_s", 2048.0, "2.0 KiB/s"),
        ("energy.request_wh", 0.0012, "0.0012 Wh"),
        ("gpu.temperature_c", 61.0, "61 °C"),
        ("gpu.power_w", 250.5, "250 W"),
        ("requests_per_s", 16.6667, "16.7/s"),
        ("requests", 1000.0, "1,000"),
        ("drift.words", 0.1234, "0.123"),
    ],
)
def test_figures_have_their_units(name: str, value: float, told: str) -> None:
    assert signal_figure(name, value) == told
