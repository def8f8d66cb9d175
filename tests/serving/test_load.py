"""What the gateway says of its load: rolling counts are exact, files are summed, what is old or broken is left out."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.load import STALE_S, WINDOW_S, ModelLoad, Rolling, read_load, write_load


@given(st.lists(st.floats(0, 8), max_size=60), st.floats(0, 30))
def test_a_rolling_count_is_what_came_in_the_window(gaps: list[float], rest: float) -> None:
    now, count, came = 100.5, Rolling(100.5), []
    for gap in gaps:
        now += gap
        count.add(now)
        came.append(int(now))
    now += rest
    assert count.over(now) == sum(int(now) - WINDOW_S < second for second in came)


def test_the_rate_is_that_of_the_time_that_has_been() -> None:
    count = Rolling(0.0)
    for step in range(400):
        count.add(step / 100)
    assert abs(count.rate(4.0) - 100) < 1
    assert count.rate(30.0) == 0


def test_processes_are_summed_and_the_stale_and_broken_left_out(tmp_path: Path) -> None:
    assert read_load(tmp_path) == {}
    write_load(tmp_path, 0, {"a": ModelLoad(1, 2, 3, 4.5, 10.0, 1, 20.0), "b": ModelLoad()})
    write_load(tmp_path, 1, {"a": ModelLoad(1, 1, 1, 1.0, 11.0, 2, 19.0)})
    write_load(tmp_path, 2, {"a": ModelLoad(100)})
    (tmp_path / "load" / "3.json").write_bytes(b"{")
    old = (tmp_path / "load" / "2.json").stat().st_mtime - STALE_S - 60
    os.utime(tmp_path / "load" / "2.json", (old, old))
    assert read_load(tmp_path) == {"a": ModelLoad(2, 3, 4, 5.5, 11.0, 3, 20.0), "b": ModelLoad()}
    assert read_load(tmp_path, now=old + 1e6) == {}
