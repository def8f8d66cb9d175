"""Autoscaling: policies beside each other on the real traces, the simulator beside the live system, and what one decision costs.

The live part runs the control process, a gateway and echo replicas as processes, and replays a squeezed slice of the conversation trace. It
fails (exit 1) when a request fails, or when waits or replica-seconds lie further apart than stated in docs/explanation/scaling.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from penstock.control.scaling.compare import Setting, compare
from penstock.control.scaling.policy import Observation, Rules, State, decide
from penstock.control.scaling.simulate import Fleet, simulate
from penstock.control.scaling.trace import Asked, read_trace, trace_file
from penstock.spec.deploy import Scale
from penstock.testing.scaled import ScaledSystem, agreement, slice_of

TARGET, SLOTS = 6, 8


def policies(name: str, asked: list[Asked], cold_start_s: float) -> None:
    began = time.perf_counter()
    rows = compare(asked, Setting(Scale(min=1, max=25, target_concurrency=TARGET), Fleet(slots=SLOTS, cold_start_s=cold_start_s)))
    hours = (asked[-1].at - asked[0].at) / 3600
    took = time.perf_counter() - began
    print(f"\n{name}: {len(asked):,} requests in {hours:.2f} h, a start takes {cold_start_s:g} s ({took:.1f} s to simulate all five)")
    print(f"  {'policy':24} {'p50':>7} {'p95':>7} {'p99':>7}  replica-h  starts  changes  dropped")
    for row in rows:
        told = row.as_json()
        waits = " ".join(f"{told[f'wait_p{share}_s']:6.2f}s" for share in (50, 95, 99))
        print(f"  {row.name:24} {waits}  {told['replica_hours']:9.2f}  {told['cold_starts']:6}  {told['changes']:7}  {told['dropped']:7}")


def live(asked: list[Asked], seconds: float, load_s: float) -> bool:
    """One replay, live and simulated."""
    arrivals = slice_of(asked, (0.0, 0.9), seconds=seconds, rate=14.0, work_s=0.6)
    scale = {"min": 1, "max": 5, "target_concurrency": 3, "down_after": 4}
    deploy = {"scale": scale, "protect": {"concurrency": 4}}
    with tempfile.TemporaryDirectory() as folder, ScaledSystem(Path(folder), deploy, load_s=load_s) as system:
        seen = system.replay(arrivals)
        fleet = system.fleet(slots=4)
    found = agreement(seen, simulate(arrivals, Scale.model_validate(scale), fleet), arrivals)
    failed = len(arrivals) - seen.statuses["200"]
    print(f"\nlive, {len(arrivals)} requests in {seconds:g} s, start {fleet.cold_start_s:.2f} s, {failed} failed {seen.failures[:2] or ''}")
    for name, (real, simulated) in {"wait p50": found.wait_p50_s, "wait p95": found.wait_p95_s, "replica-s": found.replica_s}.items():
        print(f"  {name:10} live {real:8.2f}   simulated {simulated:8.2f}")
    print(f"  {'agrees' if found.holds else 'DISAGREES'}; the generator was late by {seen.late_s * 1000:.0f} ms at most")
    return found.holds and not failed


def decision_us() -> float:
    """One look of the policy at a full window, JSON state included, as the control loop does it."""
    rules, state = Rules(Scale(min=1, max=20, target_concurrency=TARGET, target_queue=4), 10.0), State()
    for second in range(120):
        state = decide(state, Observation(20 + second % 7, second % 3, 5.0, 1e9, 4), rules, 1e9 + second).state
    kept, count, began = state.as_json(), 2000, time.perf_counter()
    for turn in range(count):
        kept = decide(State.parse(kept), Observation(20, 1, 5.0, 1e9, 4), rules, 1e9 + 120 + turn / 1000).state.as_json()
    return (time.perf_counter() - began) / count * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each live replay")
    parser.add_argument("--brief", action="store_true", help="one short replay, to see that it works")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        conv, code = (read_trace(trace_file(name, Path(cache))) for name in ("conv", "code"))
        dense = read_trace(trace_file("conv", Path(cache)), 4.0)
    for name, asked, cold_start_s in (
        ("conv", conv, 10.0),
        ("conv", conv, 60.0),
        ("conv, 4 × as dense", dense, 30.0),
        ("code", code, 10.0),
    ):
        policies(name, asked, cold_start_s)
    print(f"\none decision, its state read and written as JSON: {decision_us():.0f} µs")
    settings = ((20.0, 1.0),) if given.brief else ((given.seconds, 0.0), (given.seconds, 1.5), (given.seconds, 4.0))
    agreed = [live(conv, seconds, load_s) for seconds, load_s in settings]
    return 0 if all(agreed) else 1


if __name__ == "__main__":
    sys.exit(main())
