"""Anomalies: false alarms where nothing is odd, and what is found of what was planted, beside river and alibi-detect on the same series.

A series is a daily pattern in minutes times noise: that of a real service (arrivals of the Azure LLM inference trace, in blocks of 40
minutes) or Gaussian. A week is learnt, then points are followed one by one. Everybody is asked for 0.1 % false alarms: ours by
`false_alarms`, the peers by a threshold at the 99.9th percentile of their own scores over the last learnt days.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from peer import environment
from penstock.monitoring.anomalies.contract import History, Settings
from penstock.monitoring.anomalies.table import METHODS
from penstock.testing.anomalies import DAY_S, Noise, blocks, gauss, series

ROOT = Path(__file__).resolve().parents[1]
STEP_S, LEARN, CHANCE = 60.0, 7 * 1440, 0.001
OURS = ("static", "seasonal", "change_point")
# What is planted: factor on the values, minutes that it lasts, minutes within which it counts as found.
PLANTED = {"spike ×4, 3 min": (4.0, 3, 3), "outage to 20 %, 30 min": (0.2, 30, 30), "load ×1.8, 6 h": (1.8, 360, 120)}
RIVER = """
import json, sys, time
import numpy as np
from river import anomaly, time_series
data = np.load(sys.argv[1])
learn, calibrate = int(sys.argv[2]), 2 * 1440
def phase(at):
    turn = 2 * np.pi * (at % 86400) / 86400
    return {"sin": (np.sin(turn) + 1) / 2, "cos": (np.cos(turn) + 1) / 2}
class Gaussian:
    def __init__(self, values): self.model = anomaly.GaussianScorer()
    def step(self, at, y):
        score = self.model.score_one(None, y); self.model.learn_one(None, y); return score
class Trees:
    def __init__(self, values):
        self.model = anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=1440, seed=1); self.most = float(np.max(values)) * 1.5
    def step(self, at, y):
        x = {"y": min(y / self.most, 1.0), **phase(at)}
        score = self.model.score_one(x); self.model.learn_one(x); return score
class Predictive:
    def __init__(self, values):
        model = time_series.HoltWinters(alpha=0.05, beta=0.001, gamma=0.1, seasonality=1440)
        self.model, self.seen = anomaly.PredictiveAnomalyDetection(model, horizon=1, n_std=1000.0), 0
    def step(self, at, y):
        self.seen += 1
        score = self.model.score_one(None, y) if self.seen > 2 * 1440 else 0.0
        self.model.learn_one(None, y); return score
found = {}
for name, kind in {"river GaussianScorer": Gaussian, "river HalfSpaceTrees": Trees, "river HoltWinters": Predictive}.items():
    rows, spent, points = [], 0.0, 0
    for at, values in zip(data["at"], data["values"]):
        values = values[np.isfinite(values)]
        model, scores = kind(values[:learn]), []
        began = time.process_time()
        for n, y in enumerate(values):
            scores.append(model.step(float(at[n]), float(y)))
        spent += time.process_time() - began; points += len(values)
        limit = np.quantile(scores[learn - calibrate:learn], 0.999)
        rows.append([bool(s > limit) for s in scores[learn:]])
    found[name] = {"alarms": rows, "us": 1e6 * spent / points}
json.dump(found, open(sys.argv[3], "w"))
"""
ALIBI = """
import json, logging, sys, time, warnings
warnings.simplefilter("ignore"); logging.disable(logging.WARNING)
import numpy as np
from alibi_detect.od import IForest, SpectralResidual
data = np.load(sys.argv[1])
learn, calibrate, back = int(sys.argv[2]), 2 * 1440, 240
def phase(at):
    turn = 2 * np.pi * (at % 86400) / 86400
    return np.column_stack([np.sin(turn), np.cos(turn)])
found = {}
rows, spent, points = [], 0.0, 0
for at, values in zip(data["at"], data["values"]):
    values = values[np.isfinite(values)].astype(np.float32)
    x = np.column_stack([values, phase(at[:len(values)])])
    model = IForest(n_estimators=100, max_samples=256); model.fit(x[:learn])
    scores = model.score(x[:learn]); limit = np.quantile(scores[-calibrate:], 0.999)
    began, alarms = time.process_time(), []
    for start in range(learn, len(values), 60):
        alarms += [bool(s > limit) for s in model.score(x[start:start + 60])]
    spent += time.process_time() - began; points += len(values) - learn
    rows.append(alarms)
found["alibi IForest (hours at once)"] = {"alarms": rows, "us": 1e6 * spent / points}
rows, spent, points = [], 0.0, 0
for at, values in zip(data["at"], data["values"]):
    values = values[np.isfinite(values)].astype(np.float32)
    t = np.arange(back)
    model = SpectralResidual(threshold=None, window_amp=20, window_local=20, n_est_points=10, n_grad_points=5)
    def last(n): return float(model.score(values[n - back + 1:n + 1], t)[-1])
    limit = np.quantile([last(n) for n in range(learn - calibrate, learn, 3)], 0.999)
    began = time.process_time()
    rows.append([bool(last(n) > limit) for n in range(learn, len(values))])
    spent += time.process_time() - began; points += len(values) - learn
found["alibi SpectralResidual"] = {"alarms": rows, "us": 1e6 * spent / points}
json.dump(found, open(sys.argv[3], "w"))
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One series. `planted`: its name among PLANTED, and at which followed point it begins."""

    noise: str
    history: History
    planted: str | None = None
    begins: int = 0


def real(mirror: Path, kind: str) -> Noise:
    with (mirror / "azure_llm_trace_2023" / f"AzureLLMInferenceTrace_{kind}.csv").open() as file:
        seconds = np.array([datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in csv.DictReader(file)])
    counts = np.bincount(((seconds - seconds[0]) / 20).astype(int))[:-1]
    return blocks(counts / counts.mean(), 40)


def cases(mirror: Path, runs: int) -> Iterator[Case]:
    noises = {"Gaussian 10 %": gauss, "Azure conversations": real(mirror, "conv"), "Azure code": real(mirror, "code")}
    for name, noise in noises.items():
        for seed in range(runs):
            yield Case(name, series(9, noise, seed, step_s=STEP_S))
    for name in list(noises)[:2]:
        for number, (planted, (factor, lasts, _)) in enumerate(PLANTED.items()):
            for seed in range(runs):
                whole = series(8, noises[name], 100 + seed, step_s=STEP_S)
                begins = 200 + (1000 // runs) * seed + 7 * number
                whole.values[LEARN + begins : LEARN + begins + lasts] *= factor
                yield Case(name, whole, planted, begins)


def ours(found: list[Case], method: str) -> dict[str, Any]:
    alarms, spent, points, learning = [], 0.0, 0, 0.0
    for case in found:
        whole = case.history
        began = time.process_time()
        model = METHODS.load(method).learn(History(whole.at[:LEARN], whole.values[:LEARN], STEP_S), Settings(CHANCE, DAY_S))
        learning += time.process_time() - began
        began = time.process_time()
        alarms.append([model.step(float(whole.at[n]), (float(whole.values[n, 0]),)).ratio > 1 for n in range(LEARN, whole.points)])
        spent += time.process_time() - began
        points += whole.points - LEARN
    return {"alarms": alarms, "us": 1e6 * spent / points, "learn_ms": 1000 * learning / len(found)}


def peers(found: list[Case], folder: Path) -> dict[str, Any]:
    size = max(case.history.points for case in found)
    values = np.full((len(found), size), np.nan)
    at = np.zeros((len(found), size))
    for n, case in enumerate(found):
        values[n, : case.history.points], at[n, : case.history.points] = case.history.values[:, 0], case.history.at
    np.savez(folder / "series.npz", values=values, at=at)
    told: dict[str, Any] = {}
    for name, packages, program in (("river", ["river==0.26.1"], RIVER), ("alibi-detect", ["alibi-detect==0.13.0"], ALIBI)):
        python = environment(name, packages)
        answer = folder / f"{name}.json"
        subprocess.run([str(python), "-c", program, str(folder / "series.npz"), str(LEARN), str(answer)], check=True)
        told |= json.loads(answer.read_text())
    return told


def table(found: list[Case], told: dict[str, Any]) -> None:
    noises = list(dict.fromkeys(case.noise for case in found))
    print("\nfalse alarms, % of points (asked for: 0.1)")
    print(f"{'':30}" + "".join(f"{noise:>22}" for noise in noises) + f"{'CPU µs a point':>17}{'learn':>10}")
    for name, one in told.items():
        shares = []
        for noise in noises:
            rows = [alarms for case, alarms in zip(found, one["alarms"], strict=True) if case.noise == noise and not case.planted]
            shares.append(100 * sum(map(sum, rows)) / sum(map(len, rows)))
        learn = f"{one['learn_ms']:.0f} ms" if "learn_ms" in one else ""
        print(f"{name:30}" + "".join(f"{share:22.3f}" for share in shares) + f"{one['us']:17.0f}{learn:>10}")
    hits = {name: sum(planted(found, one, noise, what)[0] for noise in noises[:2] for what in PLANTED) for name, one in told.items()}
    for noise in noises[:2]:
        print(f"\n{noise}: found of what was planted (median minutes until then), false alarms before it")
        print(f"{'':30}" + "".join(f"{what:>28}" for what in PLANTED))
        for name, one in told.items():
            print(f"{name:30}" + "".join(f"{planted(found, one, noise, what)[1]:>28}" for what in PLANTED))
    whole = sum(case.planted is not None for case in found)
    peer = max((n for name, n in hits.items() if not name.startswith("penstock")), default=0)
    for name, n in hits.items():
        ratio = f", {n / peer:.1f} times the best peer" if peer and name.startswith("penstock") else ""
        print(f"{name}: {n} of {whole} found{ratio}")


def planted(found: list[Case], one: dict[str, Any], noise: str, what: str) -> tuple[int, str]:
    """How many were found of one kind, and the cell of the table that says so."""
    within = PLANTED[what][2]
    rows = [(case, alarms) for case, alarms in zip(found, one["alarms"], strict=True) if (case.noise, case.planted) == (noise, what)]
    delays = [next((n for n in range(within) if alarms[case.begins + n]), None) for case, alarms in rows]
    hits = [delay for delay in delays if delay is not None]
    before = sum(sum(alarms[: case.begins]) for case, alarms in rows)
    return len(hits), f"{len(hits)} of {len(rows)}" + (f" ({np.median(hits):.0f})" if hits else "") + f", {before}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mirror", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--runs", type=int, default=8, help="series of each kind")
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    made = list(cases(options.mirror, options.runs))
    results = {f"penstock {method}": ours(made, method) for method in OURS}
    if not options.no_peer:
        with tempfile.TemporaryDirectory() as scratch:
            results |= peers(made, Path(scratch))
    table(made, results)
