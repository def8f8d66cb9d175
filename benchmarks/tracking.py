"""Tracking beside MLflow: single metric points, batches of 1,000, 1,000 runs made and fetched. Both on SQLite files, in turns.

    python benchmarks/tracking.py [--rounds 3] [--json] [--peer-python PYTHON]

Penstock commits in WAL mode with synchronous=NORMAL, MLflow with SQLite's defaults: that is part of the difference, and both keep
everything when the process is killed. Ratios are of medians over the rounds; CPU time stands beside wall time.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

MLFLOW = "mlflow==3.17.2"
RUNS = 1000
BATCH = 1000
SINGLES = {"penstock": 5000, "mlflow": 300}
BATCHES = {"penstock": 100, "mlflow": 10}
ROWS = {
    "single": "single points/s",
    "batch": f"points/s in batches of {BATCH}",
    "create": f"runs/s made ({RUNS})",
    "fetch": f"runs/s fetched ({RUNS} in one list)",
}


def rate(count: int, act: Callable[[], object]) -> dict[str, float]:
    """Units a second of wall time and of this process's CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return {"wall": count / (time.perf_counter() - wall), "cpu": count / max(time.process_time() - cpu, 1e-9)}


def measure_penstock(folder: Path) -> dict[str, Any]:
    from penstock.core.home import Home
    from penstock.store.points import Point
    from penstock.store.store import Store

    store = Store.open(Home.find(folder, {}))
    run = store.resources.create("run", "tracking", {}).id
    store.points.append([Point(run, "train", "warm", 0, 0.0, time.time())])

    def singles() -> None:
        for step in range(SINGLES["penstock"]):
            store.points.append([Point(run, "train", "loss", step, 0.5, time.time())])

    def batches() -> None:
        for batch in range(BATCHES["penstock"]):
            start = batch * BATCH
            store.points.append([Point(run, "train", "batched", step, 0.5, time.time()) for step in range(start, start + BATCH)])

    def create() -> None:
        for number in range(RUNS):
            store.resources.create("run", "tracking", {"number": number}, status={"metrics": {"loss": 0.5}})

    found = {
        "single": rate(SINGLES["penstock"], singles),
        "batch": rate(BATCHES["penstock"] * BATCH, batches),
        "create": rate(RUNS, create),
        "fetch": rate(RUNS, lambda: _expect(len(store.resources.list("run", limit=RUNS)))),
    }
    assert len(store.points.read(run, "train", "loss")) == SINGLES["penstock"]
    store.close()
    return found


def measure_mlflow(folder: Path) -> dict[str, Any]:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("tracking", artifact_location=(folder / "artifacts").as_uri())
    run = client.create_run(experiment).info.run_id
    client.log_metric(run, "warm", 0.0)

    def singles() -> None:
        for step in range(SINGLES["mlflow"]):
            client.log_metric(run, "loss", 0.5, step=step)

    def batches() -> None:
        for batch in range(BATCHES["mlflow"]):
            start, now = batch * BATCH, int(time.time() * 1000)
            client.log_batch(run, metrics=[Metric("batched", 0.5, now, step) for step in range(start, start + BATCH)])

    def create() -> None:
        for _ in range(RUNS):
            client.create_run(experiment)

    return {
        "single": rate(SINGLES["mlflow"], singles),
        "batch": rate(BATCHES["mlflow"] * BATCH, batches),
        "create": rate(RUNS, create),
        "fetch": rate(RUNS, lambda: _expect(len(client.search_runs([experiment], max_results=RUNS)))),
    }


def _expect(count: int) -> None:
    assert count == RUNS, count


def one_round(who: str, python: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [python, str(Path(__file__).resolve()), "--measure", who, "--folder", folder]
        quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet, cwd=folder)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def compare(rounds: int, peer_python: str) -> dict[str, Any]:
    """In turns, so that load on the machine meets both."""
    taken: dict[str, list[dict[str, Any]]] = {"penstock": [], "mlflow": []}
    for _ in range(rounds):
        taken["penstock"].append(one_round("penstock", sys.executable))
        taken["mlflow"].append(one_round("mlflow", peer_python))
    table = {}
    for row in ROWS:
        ours, theirs = ({k: statistics.median(t[row][k] for t in taken[who]) for k in ("wall", "cpu")} for who in ("penstock", "mlflow"))
        table[row] = {"penstock": ours, "mlflow": theirs, "ratio": {k: ours[k] / theirs[k] for k in ("wall", "cpu")}}
    return {"rounds": rounds, "peer": MLFLOW, "rows": table}


def show(result: dict[str, Any]) -> None:
    print(f"{'':34}{'penstock':>12}{result['peer']:>18}{'ratio':>9}{'CPU ratio':>11}")
    for row, found in result["rows"].items():
        ours, theirs, ratio = found["penstock"]["wall"], found["mlflow"]["wall"], found["ratio"]
        print(f"{ROWS[row]:34}{ours:>12,.0f}{theirs:>18,.0f}{ratio['wall']:>8.1f}x{ratio['cpu']:>10.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--peer-python", help=f"a Python that has {MLFLOW}; made under the user's cache by default")
    parser.add_argument("--measure", choices=sorted(SINGLES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measured = measure_penstock(given.folder) if given.measure == "penstock" else measure_mlflow(given.folder)
        print(json.dumps(measured))
        return
    if given.peer_python is None:
        from peer import environment

        given.peer_python = str(environment("mlflow", [MLFLOW]))
    result = compare(given.rounds, given.peer_python)
    if given.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
