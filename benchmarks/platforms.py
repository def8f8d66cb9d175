"""What each platform costs beside its vendor's client used plainly, against its emulator: one table, a column a platform.

200 deployments are brought up by passes as the reconciler makes them, then by the whole control loop over SQLite (and PostgreSQL, where it
is installed), then on an account that takes so many calls a second. Replicas of the emulator share one process (testing/together.py); our
side runs in a process of its own (platform_fleet.py), so its CPU seconds are ours. Not covered: networks, what a vendor needs for a
machine: what comes up in seconds here takes minutes there.

`platforms.py [KIND …] [--count N]`. Seconds depend on the machine's load, which is printed; CPU seconds less so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from penstock.core.home import Home
from penstock.platforms.remote.bridges import stop_bridges
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.faults import Limit
from penstock.testing.postgres import binaries, running
from platform_jobs import followed, submitted
from platform_kubernetes import endpoints as kubernetes_endpoints
from platform_places import CLOUDS, PLACES, Place

HERE = Path(__file__).resolve().parent
Row = tuple[str, str]


def imported(module: str) -> float:
    """Seconds in a fresh interpreter, the best of three."""
    code = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
    return min(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) for _ in range(3))


def brought_up(place: Place, folder: Path, how: str, count: int, database: str = "") -> list[dict[str, Any]]:
    """What platform_fleet.py printed, each with the `calls` that the emulator had meanwhile."""
    folder.mkdir()
    (folder / "section.json").write_text(json.dumps(dict(place.section)))
    env = {**os.environ, **place.environment, **({"PENSTOCK_DATABASE": database} if database else {})}
    line = [sys.executable, str(HERE / "platform_fleet.py"), how, place.kind, str(count)]
    found, faults = [], place.state.faults
    faults.calls.clear()
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(line, cwd=folder, env=env, **pipes) as process:
        assert process.stdout is not None
        for told in process.stdout:
            found.append({**json.loads(told), "calls": faults.calls.total(), "throttled": faults.throttled.total()})
            faults.calls.clear()
            print("", file=process.stdin, flush=True)
    stop_bridges(Home.find(folder, env), 2.0)
    return found


def fleet(place: Place, folder: Path, count: int) -> Iterator[Row]:
    """Rows of the table."""
    first, still = brought_up(place, folder / "passes", "passes", count)
    yield (
        f"{count} endpoints, by passes",
        f"{first['wall_s']:.0f} s, {first['cpu_s']:.1f} CPU s, {first['calls']} calls ({first['ready']} ready)",
    )
    each = still["cpu_s"] / still["passes"] / count
    yield "unchanged pass", f"{each * 1e3:.2f} CPU ms, {still['calls'] / still['passes'] / count:.4f} calls"
    plain = plain_look(place, folder, count)
    yield "plain read of one", f"{plain * 1e3:.2f} CPU ms: {plain / each:.1f}×"
    yield "bridges", f"{still['bridge_processes']} processes, {still['bridge_bytes'] / 2**20:.0f} MiB"
    yield "ours beside", f"{still['files']} descriptors, {still['threads']} threads"
    clear(place)
    yield from _loops(place, folder, count)
    for operation, (per_s, burst) in place.limits.items():
        place.state.faults.limits[operation] = Limit(per_s, burst)
    (first, _) = brought_up(place, folder / "throttled", "passes", count)
    told = ", ".join(f"{name or 'all'} {per_s:g}/s" for name, (per_s, _) in place.limits.items())
    took = f"{first['wall_s']:.0f} s, {first['cpu_s']:.1f} CPU s, {first['throttled']} of {first['calls']} calls refused"
    yield f"{first['ready']} of {count} up, {told}", took
    clear(place)


def _loops(place: Place, folder: Path, count: int) -> Iterator[Row]:
    def row(name: str, database: str = "") -> Row:
        first, still = brought_up(place, folder / name, "loop", count, database)
        each = still["cpu_s"] / still["passes"] / count
        clear(place)
        rate = still["passes"] / still["wall_s"]
        told = f"{first['wall_s']:.0f} s, {first['cpu_s']:.1f} CPU s; then {each * 1e3:.2f} CPU ms a pass, {rate:.2f} passes/s each"
        return f"{first['ready']} of {count} rows live, {name}", told

    yield row("SQLite")
    if binaries() is not None:
        with running() as server, server.fresh_database() as url:
            yield row("PostgreSQL", url)


def clear(place: Place) -> None:
    """The account is empty, and takes what it is asked."""
    with place.state.lock:
        place.state.processes.close()
        place.state.things.clear()
        place.state.faults.clear()


def plain_look(place: Place, folder: Path, count: int) -> float:
    """CPU seconds of the vendor's client for one endpoint of those that are there, the emulator's threads included."""
    home = Home.find(folder / "passes", dict(os.environ) | dict(place.environment))
    made: Any = place.parts.endpoints(home, Artifacts(home.artifacts_url, home.cache), place.section)
    kinds = {"sagemaker": "endpoint", "vertex": "endpoints", "azureml": "onlineEndpoints"}
    names = [name.rpartition("/")[2] for name in place.state.of(kinds[place.kind])][: min(count, 50)]
    place.plain_look(made, names[0])
    began = time.thread_time()
    for name in names:
        place.plain_look(made, name)
    return (time.thread_time() - began) / len(names)


def table(kind: str, folder: Path, count: int) -> Iterator[Row]:
    with PLACES[kind](folder / "emulator") as place:
        os.environ.update(place.environment)
        ours, plain = imported(place.module), imported(place.sdk)
        yield "import", f"{ours:.2f} CPU s; the vendor's client {plain:.2f}, when first used"
        home = Home.find(folder, dict(os.environ))
        artifacts = Artifacts(home.artifacts_url, home.cache)
        submit, alone, look = submitted(place, home, artifacts, folder)
        yield (
            "submit",
            f"{submit.wall_s * 1e3:.0f} ms; the vendor's call alone {alone.wall_s * 1e3:.0f}: {submit.wall_s / alone.wall_s:.1f}×",
        )
        yield "look at a job", f"{look.wall_s * 1e3:.1f} ms"
    with PLACES[kind](folder / "other") as place:
        os.environ.update(place.environment)
        home = Home.find(folder, dict(os.environ))
        cold, lags = followed(place, home, Artifacts(home.artifacts_url, home.cache), folder)
        yield "cold start of a step", f"{cold:.1f} s to its first line (a process: no image, no machine)"
        yield "log lag", f"{statistics.median(lags):.2f} s median, {max(lags):.2f} s at most"
    with PLACES[kind](folder / "fleet") as place:
        os.environ.update(place.environment)
        (folder / "ours").mkdir()
        yield from fleet(place, folder / "ours", count) if kind in CLOUDS else kubernetes_endpoints(place, folder / "ours", count)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(PLACES))
    parser.add_argument("--count", type=int, default=200)
    told = parser.parse_args()
    before: Mapping[str, str] = dict(os.environ)
    for kind in told.kinds or PLACES:
        print(f"\n{kind} (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)", flush=True)
        with tempfile.TemporaryDirectory() as place:
            for what, found in table(kind, Path(place), told.count):
                print(f"  {what:<44} {found}", flush=True)
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    main()
