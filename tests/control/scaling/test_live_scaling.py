"""The system as it runs: background process, gateway and echo replicas as processes; the simulator is held to what they did."""

from __future__ import annotations

import concurrent.futures
import time
from pathlib import Path

import pytest

from penstock.control.scaling.simulate import simulate
from penstock.control.scaling.trace import read_trace, trace_file
from penstock.spec.deploy import Scale
from penstock.testing.scaled import ScaledSystem, agreement, slice_of
from penstock.testing.serving import wait_for

pytestmark = pytest.mark.load


def test_an_idle_deployment_sleeps_and_held_requests_wake_it(tmp_path: Path) -> None:
    scale = {"min": 0, "max": 2, "target_concurrency": 2, "down_after": "1s", "idle": "1500ms"}
    with ScaledSystem(tmp_path, {"scale": scale, "protect": {"hold": "30s"}}, load_s=0.5) as system:
        assert system.ask(0.05)[0] == 200
        wait_for(lambda: system.ready == 0, 20, "sleep")
        wait_for(lambda: not list((system.home.replicas / "m").glob("*/pid.json")), 10, "no process")
        assert system.row.phase == "live"
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            answers = [f.result() for f in [pool.submit(system.ask, 0.05) for _ in range(3)]]
        assert [status for status, _, _ in answers] == [200, 200, 200], answers
        assert 0.4 < time.monotonic() - began < 20
        told = [e.message for e in system.world.store.events.list("deployment", system.row.id) if e.type == "deployment.scaled"]
        assert any("held for a first replica" in message for message in told), told


@pytest.mark.slow
def test_the_simulator_agrees_with_the_live_system(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tolerances as stated in docs/explanation/scaling.md; no request may fail."""
    monkeypatch.setenv("PENSTOCK_MIRROR", str(mirror))
    asked = read_trace(trace_file("conv", tmp_path / "cache"))
    arrivals = slice_of(asked, (0.0, 0.6), seconds=24.0, rate=14.0, work_s=0.6)
    scale = {"min": 1, "max": 5, "target_concurrency": 3, "down_after": 4}
    with ScaledSystem(tmp_path / "home", {"scale": scale, "protect": {"concurrency": 4}}, load_s=1.5) as system:
        seen = system.replay(arrivals)
        fleet = system.fleet(slots=4)
    assert (dict(seen.statuses), seen.failures) == ({"200": len(arrivals)}, [])
    found = agreement(seen, simulate(arrivals, Scale.model_validate(scale), fleet), arrivals)
    assert found.holds, found
