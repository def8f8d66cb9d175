"""What an orchestrator costs: a chain of steps that do nothing, beside Metaflow, Prefect, Dagster and ZenML.

Each contender is a whole process with durable state in a fresh folder. `cold`: 20 steps from nothing; `cached`: the same again
(where the peer caches); `step`: (60 steps - 20 steps) / 40, so that starting up does not count. Wall and CPU seconds (children too).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from peer import environment

PENSTOCK_CODE = "def start(*, seed: int = 1) -> int:\n    return seed\n\n\ndef step(value: int) -> int:\n    return value + 1\n"
PREFECT = """
import sys
from prefect import flow, task

@task(persist_result=True)
def step(value):
    return value + 1

@flow
def chain(count):
    value = 0
    for _ in range(count):
        value = step(value)
    return value

if __name__ == "__main__":
    assert chain(int(sys.argv[1])) == int(sys.argv[1])
"""
DAGSTER = """
import os, sys
from dagster import DagsterInstance, job, op

@op
def start():
    return 0

@op
def step(value):
    return value + 1

@job
def chain():
    value = start()
    for _ in range(int(sys.argv[1]) - 1):
        value = step(value)

if __name__ == "__main__":
    os.makedirs("state", exist_ok=True)
    with DagsterInstance.local_temp(os.path.abspath("state")) as instance:
        assert chain.execute_in_process(instance=instance).success
"""
ZENML = """
import sys
from zenml import pipeline, step

@step
def start() -> int:
    return 0

@step
def add(value: int) -> int:
    return value + 1

@pipeline(enable_cache=True)
def chain():
    value = start()
    for _ in range(int(sys.argv[1]) - 1):
        value = add(value)

if __name__ == "__main__":
    chain()
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """`prepare` writes what is run for a count of steps into a folder; `command` runs it there."""

    name: str
    packages: tuple[str, ...]
    prepare: Callable[[Path, int], None]
    command: Callable[[str, int], list[str]]
    caches: bool
    variables: Mapping[str, str] = field(default_factory=dict)


def write_penstock(folder: Path, count: int) -> None:
    rows = ["name: chain", "steps:", "  - {name: s0, uses: 'noop:start'}"]
    rows += [f"  - {{name: s{n}, uses: 'noop:step', inputs: {{value: s{n - 1}}}}}" for n in range(1, count)]
    (folder / "penstock.yaml").write_text("\n".join(rows) + "\n")
    (folder / "noop.py").write_text(PENSTOCK_CODE)


def write_metaflow(folder: Path, count: int) -> None:
    rows = ["from metaflow import FlowSpec, step", "", "class Chain(FlowSpec):"]
    names = ["start", *(f"s{n}" for n in range(1, count - 1)), "end"]
    for name, after in zip(names, [*names[1:], None], strict=True):
        value = "self.value = 0" if name == "start" else "self.value += 1"
        rows += ["    @step", f"    def {name}(self):", f"        {value}", f"        self.next(self.{after})" if after else "        pass"]
    (folder / "chain.py").write_text("\n".join([*rows, "", 'if __name__ == "__main__":', "    Chain()", ""]))


def script(text: str) -> Callable[[Path, int], None]:
    return lambda folder, _: (folder / "chain.py").write_text(text) and None


METAFLOW = {"METAFLOW_USER": "bench", "USERNAME": "bench", "METAFLOW_DATASTORE_SYSROOT_LOCAL": "."}
PREFECT_SET = {"PREFECT_HOME": "prefect", "PREFECT_LOGGING_LEVEL": "ERROR", "DO_NOT_TRACK": "1"}
ZENML_SET = {
    "ZENML_CONFIG_PATH": "zenml",
    "ZENML_ANALYTICS_OPT_IN": "false",
    "ZENML_LOGGING_VERBOSITY": "ERROR",
    "AUTO_OPEN_DASHBOARD": "false",
}


def counted(python: str, count: int) -> list[str]:
    return [python, "chain.py", str(count)]


CONTENDERS = (
    Contender("penstock", (), write_penstock, lambda python, _: [python, "-m", "penstock", "run", "penstock.yaml"], True),
    Contender(
        "metaflow", ("metaflow==2.19.39",), write_metaflow, lambda python, _: [python, "chain.py", "--quiet", "run"], False, METAFLOW
    ),
    Contender("prefect", ("prefect==3.8.8", "fastapi==0.145.0"), script(PREFECT), counted, False, PREFECT_SET),
    Contender("dagster", ("dagster==1.13.28",), script(DAGSTER), counted, False),
    Contender("zenml", ("zenml[local]==0.98.0",), script(ZENML), counted, True, ZENML_SET),
)


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds; `step_ms` and its CPU in milliseconds. None where it was not measured."""

    name: str
    cold_s: float
    cold_cpu_s: float
    cached_s: float | None
    step_ms: float
    step_cpu_ms: float


def timed(contender: Contender, python: str, folder: Path, count: int) -> tuple[float, float]:
    """Wall and CPU seconds of one whole process. Ends the benchmark with its output when it fails."""
    paths = {k: str(folder / v) if k.endswith(("HOME", "PATH", "LOCAL")) else v for k, v in contender.variables.items()}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = contender.command(python, count)
    done = subprocess.run(command, cwd=folder, env={**os.environ, **paths, "HOME": str(folder)}, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{contender.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(contender: Contender, repeats: int) -> Result:
    python = str(environment(contender.name, contender.packages)) if contender.packages else sys.executable
    cold, cold_cpu, cached, step, step_cpu = [], [], [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as short, tempfile.TemporaryDirectory() as long:
            contender.prepare(Path(short), 20)
            contender.prepare(Path(long), 60)
            wall, cpu = timed(contender, python, Path(short), 20)
            if contender.caches:
                cached.append(timed(contender, python, Path(short), 20)[0])
            longer, longer_cpu = timed(contender, python, Path(long), 60)
        cold.append(wall)
        cold_cpu.append(cpu)
        step.append(1000 * (longer - wall) / 40)
        step_cpu.append(1000 * (longer_cpu - cpu) / 40)
    middle = statistics.median
    return Result(contender.name, middle(cold), middle(cold_cpu), middle(cached) if cached else None, middle(step), middle(step_cpu))


def main() -> None:
    names = [c.name for c in CONTENDERS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = [measure(c, options.repeats) for c in CONTENDERS if c.name in options.only]
    if options.json:
        print(json.dumps([asdict(r) for r in results]))
        return
    ours = next((r for r in results if r.name == "penstock"), None)
    print(f"{'':10} {'cold s':>8} {'cpu s':>8} {'cached s':>9} {'ms/step':>9} {'cpu ms':>8}  ratio to penstock (cold, step)")
    for r in results:
        cached = f"{r.cached_s:9.2f}" if r.cached_s is not None else f"{'-':>9}"
        ratio = f"{r.cold_s / ours.cold_s:.1f}x  {r.step_ms / ours.step_ms:.1f}x" if ours and ours is not r else ""
        print(f"{r.name:10} {r.cold_s:8.2f} {r.cold_cpu_s:8.2f} {cached} {r.step_ms:9.2f} {r.step_cpu_ms:8.2f}  {ratio}")


if __name__ == "__main__":
    main()
