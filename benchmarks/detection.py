"""How soon drift is seen, and how often it is seen where there is none: 200 streams of 10,000 requests made of banking77.

A third of the intents is held back from the reference of 3,000 questions (four different thirds). In each stream clean requests come
first; from the onset on, 30 % of them are of held-back intents at once (sudden), more and more up to 40 % (gradual), 30 % in every other
1,000 (recurring), or none.
Ours: the summary drift.input over words and embeddings in windows of 500, limits calibrated to one false alarm in 1,000 windows; and
the streaming detectors on errors. Beside: alibi-detect's KSDrift on the same embeddings and frouros's KSTest on the same nearness to the
reference, in the same windows at p < 0.001; river's ADWIN, PageHinkley and KSWIN on that nearness and on the errors, with their defaults.
Errors are those of a nearest-neighbour classifier; it has every held-back intent wrong.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from peer import environment

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
REQUESTS, WINDOW, THIRDS, REFERENCE = 10_000, 500, 4, 3000
KINDS = ("none", "sudden", "gradual", "recurring")
RIVER = """
import json, sys
import numpy as np
from river.drift import ADWIN, KSWIN, PageHinkley
found = {}
data = np.load(sys.argv[1])
for what in ("near", "wrong"):
    for name, make, most in (
        ("ADWIN", ADWIN, 10**9), ("PageHinkley", PageHinkley, 10**9), ("KSWIN", lambda: KSWIN(seed=7), int(sys.argv[2])),
    ):
        alarms = []
        for number, stream in enumerate(data[what]):
            if number >= most:
                break
            detector, at = make(), []
            for place, value in enumerate(stream.tolist()):
                detector.update(value)
                if detector.drift_detected:
                    at.append(place)
            alarms.append(at)
        found[f"river {name}", what] = alarms
print(json.dumps([[*key, value] for key, value in found.items()]))
"""
FROUROS = """
import json, sys
import numpy as np
from frouros.detectors.data_drift import KSTest
data = np.load(sys.argv[1])
alarms = []
for stream, third in zip(data["near"], data["third"]):
    detector = KSTest()
    detector.fit(X=data[f"reference_near_{third}"])
    ends = range(500, len(stream) + 1, 500)
    alarms.append([end - 1 for end in ends if detector.compare(X=stream[end - 500 : end])[0].p_value < 0.001])
print(json.dumps([["frouros KSTest", "near", alarms]]))
"""
ALIBI = """
import json, logging, sys
logging.disable(logging.WARNING)
import numpy as np
from alibi_detect.cd import KSDrift
data = np.load(sys.argv[1])
detectors = {third: KSDrift(data["table"][data[f"reference_{third}"]].astype(np.float32), p_val=0.001) for third in range(4)}
alarms = []
for rows, third in zip(data["rows"][: int(sys.argv[2])], data["third"]):
    ends = range(500, len(rows) + 1, 500)
    windows = ((end, data["table"][rows[end - 500 : end]].astype(np.float32)) for end in ends)
    alarms.append([end - 1 for end, window in windows if detectors[third].predict(window, return_p_val=False)["data"]["is_drift"]])
print(json.dumps([["alibi-detect KSDrift", "embedding", alarms]]))
"""


FIRST = """
import json, sys
import numpy as np
from river.drift import ADWIN
found = []
for stream in np.load(sys.argv[1])["wrong"]:
    detector, first = ADWIN(), -1
    for at, value in enumerate(stream.tolist()):
        detector.update(value)
        if detector.drift_detected:
            first = at
            break
    found.append(first)
print(json.dumps(found))
"""


def questions() -> tuple[list[str], np.ndarray]:
    """Texts and labels of both splits. They are mixed: the mix of intents in train is not that in test, which would be drift in itself."""
    folder = Path(os.environ.get("PENSTOCK_MIRROR") or ROOT.parent / "shared" / "data") / "banking77"
    if not folder.is_dir():
        sys.exit(f"banking77 is not at {folder}: set PENSTOCK_MIRROR")
    rows: list[tuple[str, str]] = []
    for split in ("train", "test"):
        with (folder / f"{split}.csv").open("r", encoding="utf-8", newline="") as file:
            rows += [(row["text"], row["category"]) for row in csv.DictReader(file)]
    return [text for text, _ in rows], np.array([label for _, label in rows])


def embedded(texts: list[str]) -> np.ndarray:
    """By the packaged encoder as monitors use it; kept in the cache, since it takes a minute."""
    from penstock.stages.optimize.embedder import export_embedder
    from penstock.stages.reference.vectors import open_vectors
    from penstock.stages.train.bases import locate_base

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock-benchmarks"
    kept = cache / "banking77-minilm.npy"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as made:
            base, _ = locate_base("minilm", Path(made), cache)
            export_embedder(base, Path(made) / "encoder", None, True, 256)
            np.save(kept, open_vectors(Path(made) / "encoder").of(texts))
    found: np.ndarray = np.load(kept)
    return found


def stream(kind: str, clean: np.ndarray, odd: np.ndarray, chance: np.random.Generator) -> tuple[np.ndarray, int]:
    """Rows of one stream, and its onset (of `none`: its end)."""
    onset = int(chance.integers(4000, 5000)) if kind != "none" else REQUESTS
    after = np.arange(REQUESTS) - onset
    share = {"none": 0.0 * after, "sudden": 0.3 + 0.0 * after, "gradual": np.minimum(after / 3000, 1) * 0.4}.get(
        kind, 0.3 * (after // 1000 % 2 == 0)
    )
    strange = (after >= 0) & (chance.random(REQUESTS) < share)
    rounds = [chance.permutation(clean) for _ in range(REQUESTS // len(clean) + 1)]  # drawn with replacement, the pool itself would drift
    return np.where(strange, chance.choice(odd, REQUESTS), np.concatenate(rounds)[:REQUESTS]), onset


class Third:
    """One choice of intents that are held back: what rows of it look like to ours, and to the peers."""

    def __init__(self, number: int, texts: list[str], labels: np.ndarray, table: np.ndarray) -> None:
        from penstock.monitoring.drift.calibrate import calibrated
        from penstock.monitoring.drift.nearest import cosines, unit
        from penstock.monitoring.drift.standard import Asked

        names = np.unique(labels)
        chance = np.random.default_rng(number)
        held = np.isin(labels, chance.choice(names, len(names) // 3, replace=False))
        kept = chance.permutation(np.flatnonzero(~held))
        self.rows, self.clean, self.odd = kept[:REFERENCE], kept[REFERENCE:], np.flatnonzero(held)
        asked = [Asked(name, WINDOW, 0.001) for name in ("drift.words", "drift.embedding")]
        values = {"drift.words": [texts[row] for row in self.rows], "drift.embedding": table[self.rows]}
        self.reference = calibrated(values, asked)
        everything = {"drift.words": texts, "drift.embedding": table}
        self.lifted = {
            (signal, part.detector): part.sketch.lift(everything[signal])
            for signal, one in self.reference.standards.items()
            for part in one.parts
        }
        own = table[self.rows]
        near = cosines(unit(table), own)
        near[self.rows] = cosines(unit(own), own, np.arange(len(own)))
        self.near = near
        alike = unit(table) @ unit(own).T
        alike[self.rows, np.arange(len(own))] = -1
        self.wrong = labels[self.rows][alike.argmax(1)] != labels

    def alarms(self, rows: np.ndarray) -> list[int]:
        """Ends of windows in which drift.input is over its limit."""
        from penstock.monitoring.drift.table import detector

        found = []
        for end in range(WINDOW, len(rows) + 1, WINDOW):
            window = rows[end - WINDOW : end]
            ratios = [
                detector(part.detector).distance(part.sketch, part.sketch.of(self.lifted[signal, part.detector][window])) / part.limit
                for signal, one in self.reference.standards.items()
                for part in one.parts
            ]
            if max(ratios) / self.reference.scales["drift.input"][f"requests/{WINDOW}"] > 1:
                found.append(end - 1)
        return found

    def error_alarms(self, rows: np.ndarray) -> list[int]:
        """Requests at which the streaming detectors of drift.feedback.errors raise an alarm."""
        from penstock.control.watch.drift.errors import Errors
        from penstock.monitoring.drift.calibrate import calibrated
        from penstock.monitoring.drift.rise import RIGHT, WRONG
        from penstock.monitoring.drift.standard import Asked

        if not hasattr(self, "errors"):
            said = [WRONG if wrong else RIGHT for wrong in self.wrong[self.rows]]
            asked = [Asked("drift.feedback.errors", WINDOW, 0.001)]
            self.errors = calibrated({"drift.feedback.errors": said}, asked).standards["drift.feedback.errors"]
        watching, found = Errors(self.errors), []
        for at, wrong in enumerate(self.wrong[rows].tolist()):
            if watching.update(wrong):
                found.append(at)
            if at % WINDOW == WINDOW - 1:
                watching.told = False
        return found


def scored(name: str, what: str, alarms: list[list[int]], streams: list[tuple[str, int]]) -> str:
    """A line of the table."""
    clean = false = 0
    delays: dict[str, list[float]] = {kind: [] for kind in KINDS[1:]}
    for found, (kind, onset) in zip(alarms, streams, strict=False):
        clean += onset // WINDOW
        false += len({at // WINDOW for at in found if at < onset // WINDOW * WINDOW})
        if kind != "none":
            delays[kind].append(min((at - onset + 1 for at in found if at >= onset), default=np.inf))
    cells = []
    for kind in KINDS[1:]:
        times = np.array(delays[kind])
        seen = times[np.isfinite(times)]
        middle = f"{np.median(times):>6,.0f}" if len(seen) * 2 > len(times) else "     -"
        cells.append(f"{len(seen) / max(len(times), 1):>5.0%} {middle} {np.mean(times <= 2 * WINDOW) if len(times) else 0:>5.0%}")
    return f"{name:<26}{what:<11}{1000 * false / max(clean, 1):>10.1f}  {'   '.join(cells)}   ({len(alarms)} streams)"


def from_peer(python: Path, program: str, *arguments: str) -> list[tuple[str, str, list[list[int]]]]:
    done = subprocess.run([str(python), "-c", program, *arguments], capture_output=True, text=True)
    if done.returncode:
        print(f"did not run: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}")
        return []
    return [(name, what, alarms) for name, what, alarms in json.loads(done.stdout.splitlines()[-1])]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--streams", type=int, default=200)
    options.add_argument("--slow", type=int, default=40, help="streams for KSWIN and KSDrift, which take long")
    given = options.parse_args()
    texts, labels = questions()
    table = embedded(texts)
    thirds = [Third(number, texts, labels, table) for number in range(THIRDS)]
    chance = np.random.default_rng(3)
    made, told, which = [], [], []
    for number in range(given.streams):
        kind, third = KINDS[number % 4], number // 4 % THIRDS
        rows, onset = stream(kind, thirds[third].clean, thirds[third].odd, chance)
        made.append(rows)
        told.append((kind, onset))
        which.append(third)
    start = time.process_time()
    ours = [thirds[third].alarms(rows) for rows, third in zip(made, which, strict=True)]
    windows_s = time.process_time() - start
    errors = [thirds[third].error_alarms(rows) for rows, third in zip(made, which, strict=True)]
    lines = [scored("penstock drift.input", "words, emb.", ours, told), scored("penstock ADWIN + PH", "wrong", errors, told)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "streams.npz"
        near = np.stack([thirds[third].near[rows] for rows, third in zip(made, which, strict=True)])
        wrong = np.stack([thirds[third].wrong[rows] for rows, third in zip(made, which, strict=True)]).astype(float)
        references = {f"reference_{n}": third.rows for n, third in enumerate(thirds)} | {
            f"reference_near_{n}": t.near[t.rows] for n, t in enumerate(thirds)
        }
        np.savez(path, rows=np.stack(made), third=np.array(which), near=near, wrong=wrong, table=table, **references)
        slow = str(given.slow)
        peers = [
            (environment("frouros", ["frouros==0.9.0"]), FROUROS),
            (environment("alibi-detect", ["alibi-detect==0.13.0"]), ALIBI),
            (environment("river", ["river==0.26.1"]), RIVER),
        ]
        for python, program in peers:
            lines += [scored(name, what, alarms, told) for name, what, alarms in from_peer(python, program, str(path), slow)]
        same = agreement(environment("river", ["river==0.26.1"]), path)
    print("windows of 500; of each kind of drift: share seen, median delay in requests, share seen within two windows")
    print(f"{'':<26}{'on':<11}{'false/1000':>10}  {'   '.join(f'{kind:>18}' for kind in KINDS[1:])}")
    print("\n".join(lines))
    print(f"our windows took {windows_s / (given.streams * REQUESTS / WINDOW) * 1000:.1f} CPU ms each, features not counted")
    print(f"our ADWIN and river's raise their first alarm at the same value in {same}")


def agreement(python: Path, path: Path) -> str:
    from penstock.monitoring.drift.adwin import Adwin

    theirs = json.loads(subprocess.run([str(python), "-c", FIRST, str(path)], stdout=subprocess.PIPE, text=True, check=True).stdout)
    mine = []
    for stream_ in np.load(path)["wrong"]:
        detector = Adwin(0.002)
        mine.append(next((at for at, value in enumerate(stream_.tolist()) if detector.update(value)), -1))
    return f"{sum(a == b for a, b in zip(mine, theirs, strict=True))} of {len(mine)} streams"


if __name__ == "__main__":
    main()
