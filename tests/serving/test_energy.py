"""Energy: counters that wrap are followed, shares add up to what was drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.serving.energy import WATTS_PER_CORE, Meter, Rapl, Share, watts_per_core


def domain(folder: Path, name: str, energy: int, wrap: int = 1_000_000) -> Path:
    made = folder / name
    made.mkdir(parents=True)
    (made / "energy_uj").write_text(f"{energy}\n")
    (made / "max_energy_range_uj").write_text(f"{wrap}\n")
    return made


def test_packages_are_added_their_parts_are_not_and_counters_wrap(tmp_path: Path) -> None:
    one, two = domain(tmp_path, "intel-rapl:0", 999_000), domain(tmp_path, "intel-rapl:1", 0)
    domain(tmp_path, "intel-rapl:0:0", 5)
    rapl = Rapl(tmp_path)
    assert rapl.joules() == 0
    (one / "energy_uj").write_text("1000")
    (two / "energy_uj").write_text("500000")
    assert rapl.joules() == pytest.approx(0.002001 + 0.5)


def test_what_the_packages_drew_is_shared_by_cpu_time(tmp_path: Path) -> None:
    package = domain(tmp_path, "intel-rapl:0", 0, 10**9)
    meter = Meter(tmp_path)
    (package / "energy_uj").write_text("40000000")
    assert meter.method == "rapl"
    assert meter.joules({1: 1.0, 2: 0.5}, machine_s=2.0) == {1: pytest.approx(20), 2: pytest.approx(10)}
    (package / "energy_uj").unlink()
    assert meter.joules({1: 2.0}, 2.0) == {1: 2 * WATTS_PER_CORE}
    assert meter.method == "model"


def test_without_counters_a_busy_core_has_its_watts(tmp_path: Path) -> None:
    meter = Meter(tmp_path)
    assert meter.method == "model"
    assert meter.joules({1: 0.5}, 2.0) == {1: 0.5 * WATTS_PER_CORE}
    assert watts_per_core({"PENSTOCK_WATTS_PER_CORE": "12"}) == 12
    assert {watts_per_core({"PENSTOCK_WATTS_PER_CORE": text}) for text in ("", "-1", "nan", "many")} == {WATTS_PER_CORE}


@settings(max_examples=20, deadline=None)
@given(
    watts=st.floats(1, 200),
    turns=st.lists(st.lists(st.floats(0.001, 0.5), min_size=1, max_size=10), min_size=100, max_size=150),
)
def test_what_requests_get_adds_up_to_what_the_replica_drew(watts: float, turns: list[list[float]]) -> None:
    """Steady state: after the first readings, given and drawn differ by little."""
    share, given_wh, drawn_wh = Share(), 0.0, 0.0
    for number, turn in enumerate(turns):
        got = sum(share.take(seconds) for seconds in turn)
        joules = watts * sum(turn)
        share.drew(joules, 1.0)
        if number > 5:
            given_wh, drawn_wh = given_wh + got, drawn_wh + joules / 3600
    assert given_wh == pytest.approx(drawn_wh, rel=0.05)
