"""Classification: from probabilities to metrics with intervals, per-class scores, confusion, calibration and coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.stages.evaluate.intervals import Interval, cell_counts, of_sums, percentile, wilson
from penstock.stages.evaluate.scores import BINS, bin_of, calibration_columns, calibration_error, label_scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

LEAST_PROBABILITY = 1e-6  # probabilities are kept to 6 digits; a smaller one would make one row's log loss infinite
CONFUSED_PAIRS = 20


@dataclass(frozen=True)
class Answers:
    """What the bundle said of N rows. `names[i]` is label i; `probabilities` (N, L)."""

    ids: Sequence[str]
    labels: Integers  # (N,)
    probabilities: Floats
    names: Sequence[str]

    @property
    def predictions(self) -> Integers:
        found: Integers = self.probabilities.argmax(axis=1)
        return found

    @property
    def confidence(self) -> Floats:
        found: Floats = self.probabilities.max(axis=1)
        return found

    @property
    def correct(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.predictions == self.labels
        return found


def metrics_of(answers: Answers, resamples: int, level: float) -> dict[str, Interval]:
    """Every metric by name. Accuracy and micro F1 (equal here) by Wilson, the rest by percentile bootstrap over rows."""
    rows, classes = len(answers.labels), len(answers.names)
    cells, counts = cell_counts(answers.labels * classes + answers.predictions, resamples)
    scores = label_scores(cells // classes, cells % classes, counts, classes)
    found = {name: percentile(float(values[0]), values[1:], level) for name, values in scores.items()}
    found["accuracy"] = found["micro_f1"] = wilson(int(answers.correct.sum()), rows, level)
    columns = calibration_columns(answers.confidence, answers.correct.astype("float64"))
    found["calibration.ece"] = of_sums(columns, lambda sums: calibration_error(sums, rows), resamples, level)
    for name, losses in row_losses(answers).items():
        found[f"calibration.{name}"] = of_sums(losses[:, None], lambda sums: sums[:, 0] / rows, resamples, level)
    return found


def row_losses(answers: Answers) -> Mapping[str, Floats]:
    """Per row: Brier score (squared distance from the one-hot label, 0 to 2) and negative log likelihood in nats."""
    import numpy as np

    rows = np.arange(len(answers.labels))
    true = answers.probabilities[rows, answers.labels]
    brier = (answers.probabilities**2).sum(axis=1) - 2 * true + 1
    return {"brier": brier, "nll": -np.log(np.maximum(true, LEAST_PROBABILITY))}


def per_class(answers: Answers) -> list[dict[str, Any]]:
    """Precision, recall, F1 and rows of each class that occurs, by scikit-learn; worst F1 first."""
    import numpy as np
    from sklearn.metrics import precision_recall_fscore_support

    occurring = np.union1d(answers.labels, answers.predictions)
    table = precision_recall_fscore_support(answers.labels, answers.predictions, labels=occurring, zero_division=0)
    found = [
        {"label": answers.names[int(label)], "precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
        for label, p, r, f, n in zip(occurring, *table, strict=True)
    ]
    return sorted(found, key=lambda row: (row["f1"], row["label"]))


def confusion(answers: Answers) -> dict[str, Any]:
    """The confusion matrix (rows: truth, columns: prediction; L × L counts) and the pairs most often confused."""
    from sklearn.metrics import confusion_matrix

    matrix = confusion_matrix(answers.labels, answers.predictions, labels=range(len(answers.names)))
    wrong = [
        {"label": answers.names[i], "prediction": answers.names[j], "rows": int(matrix[i, j])}
        for i, j in zip(*matrix.nonzero(), strict=True)
        if i != j
    ]
    wrong.sort(key=lambda pair: (-pair["rows"], pair["label"], pair["prediction"]))
    return {"labels": list(answers.names), "matrix": matrix.tolist(), "most_confused": wrong[:CONFUSED_PAIRS]}


def reliability(answers: Answers) -> list[dict[str, float]]:
    """Per confidence bin that holds rows: mean confidence, accuracy, rows."""
    bins = bin_of(answers.confidence)
    found = []
    for index in range(BINS):
        inside = bins == index
        if inside.any():
            mean, right = float(answers.confidence[inside].mean()), float(answers.correct[inside].mean())
            found.append(
                {"low": index / BINS, "high": (index + 1) / BINS, "confidence": mean, "accuracy": right, "rows": int(inside.sum())}
            )
    return found


def coverage(answers: Answers, steps: int = 50) -> list[tuple[float, float]]:
    """(share of rows answered, accuracy on them) when the least confident rows are left to a person."""
    import numpy as np

    ranked = answers.correct[np.argsort(-answers.confidence, kind="stable")]
    running = ranked.cumsum() / np.arange(1, len(ranked) + 1)
    kept = np.unique(np.ceil(np.linspace(1 / steps, 1, steps) * len(ranked)).astype(int))
    return [(float(count / len(ranked)), float(running[count - 1])) for count in kept]
