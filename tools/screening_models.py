"""Trains the two linear models of `penstock.screening` and writes them: `python tools/screening_models.py [MIRROR]`.

Needs scikit-learn and the mirror of data sets (default ../shared/data). Deterministic: the same data gives the same bytes.
Held out and never trained on: Davidson rows whose text's SHA-256 ends in 0–3 (a quarter), all of XSTest, bias_madlibs, AdvBench and
giskard_prompt_injections, the test files of Banking77 and GSM8K, self-instruct's user-oriented tasks, a quarter of hh-rlhf.
The thresholds are set on texts held out from training within the training files.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from scipy.sparse import csr_matrix
from screening_texts import attacks, insults, look_alikes, neutral
from sklearn.linear_model import LogisticRegression

from penstock.screening.folding import folded
from penstock.screening.linear import Linear, pair_feature, word_features, words

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "src" / "penstock" / "screening" / "models"
BUCKETS = 1 << 17


def held_out(text: str) -> bool:
    """A quarter of all texts, by their digest."""
    return hashlib.sha256(text.encode()).hexdigest()[-1] in "0123"


def rows(path: Path, column: str) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


def json_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tweets(mirror: Path) -> list[tuple[str, int]]:
    """(text, 1 for hate or offensive, 0 for neither), each text once."""
    with (mirror / "davidson_hate_offensive" / "labeled_data.csv").open(encoding="utf-8", newline="") as file:
        return list({row["tweet"]: int(row["class"] != "2") for row in csv.DictReader(file)}.items())


def first_turns(mirror: Path) -> list[str]:
    """What people said first in hh-rlhf: often harmful, never an attack on the model's orders."""
    said = (
        row["chosen"].split("\n\nHuman: ")[1].split("\n\nAssistant:")[0]
        for row in json_rows(mirror / "hh_rlhf_harmless_base" / "test.jsonl")
    )
    return list(dict.fromkeys(said))


def dialogues(mirror: Path) -> list[str]:
    return [row["chosen"] for row in json_rows(mirror / "hh_rlhf_harmless_base" / "test.jsonl")]


def ordinary(mirror: Path) -> list[str]:
    """Banking questions, school mathematics and instructions: training files only."""
    questions = [row["question"] for row in json_rows(mirror / "gsm8k" / "train.jsonl")]
    tasks = json_rows(mirror / "self_instruct_seed" / "seed_tasks.jsonl")
    inputs = [instance["input"] for task in tasks for instance in task["instances"] if instance["input"]]
    return [*rows(mirror / "banking77" / "train.csv", "text"), *questions, *(task["instruction"] for task in tasks), *inputs]


def windows(text: str, size: int) -> list[list[str]]:
    """The words of a text in windows that overlap by half."""
    said = [match[0] for match in words(folded(text).text)]
    return [said[at : at + size] for at in range(0, max(1, len(said) - size // 2), max(1, size // 2))] or [[]]


def vectors(texts: Iterable[Sequence[str]]) -> csr_matrix:
    """(N, BUCKETS) counts, as penstock.screening.linear sums them."""
    data, indices, starts = [], [], [0]
    known: dict[str, list[int]] = {}
    for said in texts:
        counts: Counter[int] = Counter()
        for index, word in enumerate(said):
            if word not in known:
                known[word] = [crc32(feature) & (BUCKETS - 1) for feature in word_features(word)]
            counts.update(known[word])
            if index:
                counts[crc32(pair_feature(said[index - 1], word)) & (BUCKETS - 1)] += 1
        indices += counts.keys()
        data += counts.values()
        starts.append(len(indices))
    return csr_matrix((np.array(data, dtype=np.float64), indices, starts), shape=(len(starts) - 1, BUCKETS))


def fit(good: list[str], bad: list[str], window: int, strength: float, weights: Sequence[float]) -> tuple[np.ndarray, float]:
    """Weights and bias; `good` texts by all their windows. `weights` are those of a good and a bad text."""
    pieces = [piece for text in good for piece in windows(text, window)]
    wrong = [piece for text in bad for piece in windows(text, window)]
    labels = np.array([0] * len(pieces) + [1] * len(wrong))
    model = LogisticRegression(C=strength, max_iter=400, solver="liblinear", random_state=0)
    model.fit(vectors([*pieces, *wrong]), labels, sample_weight=np.where(labels == 1, weights[1], weights[0]))
    return model.coef_[0], float(model.intercept_[0])


def write(
    name: str, coefficients: np.ndarray, bias: float, window: int, about: dict[str, Any], calibration: list[str], rate: float
) -> None:
    """Weights as signed bytes; the threshold lets `rate` of the texts of `calibration` through as findings."""
    top = float(np.quantile(np.abs(coefficients[coefficients != 0]), 0.9995))
    scale = top / 127
    raw = np.clip(np.round(coefficients / scale), -127, 127).astype(np.int8).tobytes()
    header = {"name": name, "bias": round(bias, 6), "scale": scale, "window": window, "threshold": 0.5, **about}
    scores = sorted(Linear(header, raw).score(text) for text in calibration)
    header["threshold"] = math.ceil(max(0.5, scores[int(len(scores) * (1 - rate))]) * 100) / 100
    (OUT / f"{name}.bin").write_bytes(json.dumps(header, sort_keys=True).encode() + b"\n" + raw)
    print(f"{name}: {len(raw)} weights, threshold {header['threshold']}")


def toxicity(mirror: Path) -> None:
    said = [(text, label) for text, label in tweets(mirror) if not held_out(text)]
    plain = ordinary(mirror)
    good = [text for text, label in said if not label] * 2 + [text for text in plain if not held_out(text)] + list(neutral()) * 4
    bad = [text for text, label in said if label] + list(insults())
    coefficients, bias = fit(good, bad, 32, 0.02, (1.0, 1.0))
    about = {
        "trained_on": [
            "davidson_hate_offensive (MIT)",
            "banking77 train (CC BY 4.0)",
            "gsm8k train (MIT)",
            "self_instruct_seed (Apache-2.0)",
            "own sentences",
        ],
        "licence": "weights: Apache-2.0; data: as listed",
    }
    calibration = [text for text in plain if held_out(text)]
    write("toxicity", coefficients, bias, 32, about, calibration, 0.002)


def injection(mirror: Path) -> None:
    plain = [*first_turns(mirror), *dialogues(mirror), *ordinary(mirror)]
    good = [text for text in plain if not held_out(text)] + look_alikes() * 4
    coefficients, bias = fit(good, attacks(), 48, 0.05, (1.0, 3.0))
    about = {
        "trained_on": [
            "own sentences",
            "hh_rlhf_harmless_base (MIT)",
            "banking77 train (CC BY 4.0)",
            "gsm8k train (MIT)",
            "self_instruct_seed (Apache-2.0)",
        ],
        "licence": "weights: Apache-2.0; data: as listed",
    }
    write("injection", coefficients, bias, 48, about, [text for text in plain if held_out(text)], 0.001)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
    OUT.mkdir(exist_ok=True)
    toxicity(folder)
    injection(folder)
