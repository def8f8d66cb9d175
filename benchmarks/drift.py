"""Drift of 2 x 100,000 rows x 20 numbers, of 10 categories more, and of 2 x 10,000 texts, beside Evidently, frouros and alibi-detect.

All are given the same arrays and asked the same question by the same rule: is column i drifted, by Wasserstein's distance in standard
deviations >= 0.1, by the p-value of Kolmogorov and Smirnov < 0.05, by PSI >= 0.1, by Jensen and Shannon's distance >= 0.1 of categories.
Half of the columns are moved. Ours compares the raw current rows with stored sketches of the reference (as a monitor does), and sketches
with sketches. Importing and loading of files are not counted. Verdicts are compared column by column. Texts: two halves of the same
questions (banking77, repeated), and one half of which 30 % are of another kind (Disfl-QA); each tool by its own rule for texts.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peer import environment

ROOT = Path(__file__).resolve().parent.parent
TIMED = """
import json, sys, time
import numpy as np
folder, method = sys.argv[1:3]
ready = prepare(folder, method)
runs = []
for _ in range(int(sys.argv[3])):
    start, cpu = time.perf_counter(), time.process_time()
    verdicts = work(ready, method)
    runs.append([time.perf_counter() - start, time.process_time() - cpu])
best = min(runs)
print(json.dumps({"s": best[0], "cpu_s": min(run[1] for run in runs), "verdicts": [bool(v) for v in verdicts]}))
"""
OURS = """
from pathlib import Path
from penstock.monitoring.drift.counts import Counts
from penstock.monitoring.drift.numbers import Numbers
from penstock.monitoring.drift.table import decode, detector
from penstock.monitoring.drift.words import Words

def prepare(folder, method):
    if method.startswith("text"):
        from penstock.monitoring.drift.calibrate import calibrated
        from penstock.monitoring.drift.standard import Asked
        reference, current, moved = (json.loads((Path(folder) / f"{n}.json").read_text()) for n in ("texts", "same", "moved"))
        standard = calibrated({"drift.words": reference}, [Asked("drift.words", len(current), 0.01)], draws=300).standards["drift.words"]
        return standard, current, moved
    reference, current = (np.load(f"{folder}/{name}.npy", allow_pickle=False) for name in ("reference", "current"))
    kind = Counts if method == "js categories" else Numbers
    if kind is Counts:
        reference, current = (np.load(f"{folder}/{name}_names.npy", allow_pickle=False) for name in ("reference", "current"))
    stored = [kind.fit(column)[0].encode() for column in reference.T]
    if method.endswith("both stored"):
        current = [kind.fit(column)[0].encode() for column in current.T]
    return stored, current, len(reference)

def work(ready, method):
    if method.startswith("text"):
        standard, current, moved = ready
        return [standard.read(texts).ratio > 1 for texts in (current, moved)]
    stored, current, rows = ready
    if method.endswith("both stored"):
        sketches = [decode(data) for data in current]
    else:
        kind = Counts if method == "js categories" else Numbers
        sketches = [kind.fit(column)[0] for column in current.T]
    name, limit = {
        "wasserstein": ("wasserstein", 0.1), "ks": ("ks", 1.3581 * (2 / rows) ** 0.5), "psi": ("psi", 0.1),
        "js categories": ("jensen_shannon", 0.1 / np.log(2) ** 0.5),
    }[method.removesuffix(", both stored")]
    compare = detector(name)
    return [compare.distance(decode(data), sketch) > limit for data, sketch in zip(stored, sketches)]
"""
EVIDENTLY = """
import warnings
warnings.filterwarnings("ignore")
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

def prepare(folder, method):
    if method == "text":
        read = lambda name: pd.DataFrame({"text": json.load(open(f"{folder}/{name}.json"))})
        define = DataDefinition(text_columns=["text"])
        return [Dataset.from_pandas(read(name), define) for name in ("texts", "same", "moved")]
    ending = "_names" if method == "js categories" else ""
    made = []
    for name in ("reference", "current"):
        table = np.load(f"{folder}/{name}{ending}.npy", allow_pickle=False)
        made.append(pd.DataFrame(table, columns=[f"c{i:02d}" for i in range(table.shape[1])]))
    names = list(made[0].columns)
    define = DataDefinition(categorical_columns=names) if ending else DataDefinition(numerical_columns=names)
    return [Dataset.from_pandas(table, define) for table in made]

def work(ready, method):
    how = {"wasserstein": {}, "ks": {"method": "ks"}, "psi": {"method": "psi"}, "js categories": {}, "text": {}}[method]
    found = []
    for current in ready[1:]:
        result = Report([DataDriftPreset(**how)]).run(current, ready[0]).dict()
        for metric in result["metrics"]:
            if metric["metric_name"].startswith("ValueDrift"):
                value = float(metric["value"])
                if method == "ks":
                    found.append(value < 0.05)
                else:
                    found.append(value >= (0.55 if method == "text" else 0.1))
    return found
"""
FROUROS = """
from frouros.detectors.data_drift import KSTest, PSI

def prepare(folder, method):
    return [np.load(f"{folder}/{name}.npy", allow_pickle=False) for name in ("reference", "current")]

def work(ready, method):
    reference, current = ready
    found = []
    for one, other in zip(reference.T, current.T):
        detector = KSTest() if method == "ks" else PSI(num_bins=10)
        detector.fit(X=one)
        result = detector.compare(X=other)[0]
        found.append(result.p_value < 0.05 if method == "ks" else result.distance >= 0.1)
    return found
"""
ALIBI = """
import logging
logging.disable(logging.WARNING)
from alibi_detect.cd import KSDrift

def prepare(folder, method):
    reference, current = (np.load(f"{folder}/{name}.npy", allow_pickle=False) for name in ("reference", "current"))
    return KSDrift(reference, p_val=0.05), current

def work(ready, method):
    detector, current = ready
    return list(detector.predict(current, drift_type="feature", return_p_val=True)["data"]["p_val"] < 0.05)
"""


def write_columns(folder: Path, rows: int) -> None:
    chance = np.random.default_rng(1)
    shifts = np.where(np.arange(20) % 2 == 0, 0.0, 0.25 + 0.02 * np.arange(20))
    for name, by in (("reference", 0.0), ("current", 1.0)):
        columns = [chance.normal(0, 1, rows), chance.lognormal(0, 1, rows), chance.exponential(2, rows), chance.gamma(3, 1, rows)] * 5
        spread = [column.std() for column in columns]
        moved = [column[chance.permutation(rows)] + by * shift * wide for column, shift, wide in zip(columns, shifts, spread, strict=True)]
        np.save(folder / f"{name}.npy", np.stack(moved, 1))
        usual = np.array([0.35, 0.2, 0.15, 0.1, 0.08, 0.05, 0.04, 0.03])
        other = usual[::-1]
        names = [chance.choice(list("abcdefgh"), rows, p=other if by and column % 2 else usual) for column in range(10)]
        np.save(folder / f"{name}_names.npy", np.stack(names, 1))


def mirror() -> Path:
    found = Path(os.environ.get("PENSTOCK_MIRROR") or ROOT.parent / "shared" / "data")
    if not found.is_dir():
        sys.exit(f"the data sets are not at {found}: set PENSTOCK_MIRROR")
    return found


def write_texts(folder: Path, count: int) -> None:
    draw = random.Random(2)
    with (mirror() / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        usual = [row["text"] for row in csv.DictReader(file)]
    path = next((mirror() / "disfl_qa").glob("train.json"))
    odd = [row["original"] for row in json.loads(path.read_text("utf-8")).values()]
    texts = {name: draw.choices(usual, k=count) for name in ("texts", "same")}
    texts["moved"] = [draw.choice(odd) if draw.random() < 0.3 else draw.choice(usual) for _ in range(count)]
    for name, rows in texts.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))


def measured(python: str | Path, program: str, folder: Path, method: str, runs: int) -> dict[str, Any]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")} if str(python) == sys.executable else dict(os.environ)
    done = subprocess.run(
        [str(python), "-c", program + TIMED, str(folder), method, str(runs)],
        capture_output=True,
        text=True,
        env=environ,
    )
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["?"])[-1][:160]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def told(what: str, ours: dict[str, Any], peers: dict[str, dict[str, Any]], expected: Sequence[bool]) -> None:
    print(f"\n{what}")
    for name, run in {"penstock": ours, **peers}.items():
        if "error" in run:
            print(f"  {name:<28} did not run: {run['error']}")
            continue
        same = sum(a == b for a, b in zip(run["verdicts"], ours["verdicts"], strict=True))
        right = sum(a == b for a, b in zip(run["verdicts"], expected, strict=True))
        ratio = "" if run is ours else f"  ours is {run['s'] / ours['s']:,.1f} x as fast, {run['cpu_s'] / ours['cpu_s']:,.1f} x by CPU"
        print(
            f"  {name:<28} {run['s'] * 1000:>9,.1f} ms {run['cpu_s'] * 1000:>9,.1f} CPU ms  verdicts as ours {same}/{len(expected)}, "
            f"as made {right}/{len(expected)}{ratio}"
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--texts", type=int, default=10_000)
    options.add_argument("--runs", type=int, default=3, help="the best counts")
    given = options.parse_args()
    evidently = environment("evidently", ["pandas<3", "evidently==0.7.23"])
    frouros, alibi = environment("frouros", ["frouros==0.9.0"]), environment("alibi-detect", ["alibi-detect==0.13.0"])
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_columns(folder, given.rows)
        write_texts(folder, given.texts)
        moved = [column % 2 == 1 for column in range(20)]
        print(f"2 x {given.rows:,} rows; best of {given.runs}")
        for method in ("wasserstein", "ks", "psi"):
            ours = measured(sys.executable, OURS, folder, method, given.runs)
            peers = {"penstock, both stored": measured(sys.executable, OURS, folder, f"{method}, both stored", given.runs)}
            peers["Evidently"] = measured(evidently, EVIDENTLY, folder, method, 1)
            if method != "wasserstein":
                peers["frouros"] = measured(frouros, FROUROS, folder, method, given.runs)
            if method == "ks":
                peers["alibi-detect"] = measured(alibi, ALIBI, folder, method, given.runs)
            told(f"20 columns of numbers, {method}", ours, peers, moved)
        ours = measured(sys.executable, OURS, folder, "js categories", given.runs)
        told("10 columns of categories", ours, {"Evidently": measured(evidently, EVIDENTLY, folder, "js categories", 1)}, moved[:10])
        ours = measured(sys.executable, OURS, folder, "text", given.runs)
        told(f"2 x {given.texts:,} texts, twice", ours, {"Evidently": measured(evidently, EVIDENTLY, folder, "text", 1)}, [False, True])


if __name__ == "__main__":
    main()
