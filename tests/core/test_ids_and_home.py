"""Ids sort by birth and never collide; state lies beside the file unless told otherwise."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.clock import ManualClock, SystemClock
from penstock.core.home import Home
from penstock.core.ids import new_id


@given(st.floats(0, 4e9), st.floats(0.002, 1e6))
def test_ids_sort_by_time(at: float, later: float) -> None:
    assert new_id("run", at) < new_id("run", at + later)


def test_ids_do_not_collide() -> None:
    ids = {new_id("run", 1.0) for _ in range(20_000)}
    assert len(ids) == 20_000
    assert all(len(i) == 24 for i in ids)


def test_home_beside_the_file(tmp_path: Path) -> None:
    home = Home.find(tmp_path, {})
    assert home.folder == tmp_path / ".penstock"
    assert home.database_url == f"sqlite:///{tmp_path}/.penstock/penstock.db"
    assert home.artifacts_url == (tmp_path / ".penstock" / "artifacts").as_uri()


def test_home_elsewhere(tmp_path: Path) -> None:
    environ = {"PENSTOCK_HOME": str(tmp_path / "h"), "PENSTOCK_DATABASE": "postgresql://db/x", "PENSTOCK_ARTIFACTS": "s3://bucket"}
    home = Home.find(Path("/elsewhere"), environ)
    assert (home.folder, home.database_url, home.artifacts_url) == (tmp_path / "h", "postgresql://db/x", "s3://bucket")


def test_a_clock_that_moves_only_when_told() -> None:
    clock = ManualClock(100.0)
    clock.sleep(5)
    clock.jump(-50)
    assert (clock.now(), clock.monotonic()) == (55.0, 5.0)


def test_the_system_clock_goes_on() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    clock.sleep(0.001)
    assert clock.monotonic() > before
