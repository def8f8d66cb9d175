"""What is computed from counts: precision, recall, F1 and calibration error of many resamples at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

BINS = 15  # of equal width over (0, 1], as in Guo et al. 2017


def label_scores(labels: Integers, predictions: Integers, counts: Floats, classes: int) -> Mapping[str, Floats]:
    """Scores (B,) by name, from cells (label, prediction), each (K,), and their counts (B, K).

    Macro averages run over the classes that occur as label or prediction, as scikit-learn's do; a ratio without a denominator is 0.
    """
    import numpy as np

    support, predicted = counts @ _indicator(labels, classes), counts @ _indicator(predictions, classes)  # (B, classes)
    right = counts @ (_indicator(labels, classes) * (labels == predictions)[:, None])
    precision, recall = _ratio(right, predicted), _ratio(right, support)
    f1 = _ratio(2 * right, support + predicted)
    present = (support + predicted) > 0
    occurring, rows = np.maximum(present.sum(axis=1), 1), counts.sum(axis=1)
    accuracy = right.sum(axis=1) / rows
    return {
        "accuracy": accuracy,
        "precision": (precision * present).sum(axis=1) / occurring,
        "recall": (recall * present).sum(axis=1) / occurring,
        "macro_f1": (f1 * present).sum(axis=1) / occurring,
        "micro_f1": accuracy,
        "weighted_f1": (f1 * support).sum(axis=1) / rows,
    }


def calibration_columns(confidence: Floats, correct: Floats) -> Floats:
    """Per row (N, BINS) the gap `correct - confidence`, in the column of its confidence bin."""
    import numpy as np

    columns = np.zeros((len(confidence), BINS))
    columns[np.arange(len(confidence)), bin_of(confidence)] = correct - confidence
    return columns


def bin_of(confidence: Floats) -> Integers:
    """Bin (N,) of each confidence: bin i holds (i / BINS, (i + 1) / BINS]."""
    import numpy as np

    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def calibration_error(sums: Floats, rows: int) -> Floats:
    """Expected calibration error (B,) from the sums (B, BINS) of `calibration_columns` over `rows` rows."""
    import numpy as np

    error: Floats = np.abs(sums).sum(axis=1) / rows
    return error


def _indicator(of: Integers, classes: int) -> Floats:
    import numpy as np

    table = np.zeros((len(of), classes))
    table[np.arange(len(of)), of] = 1.0
    return table


def _ratio(over: Floats, under: Floats) -> Floats:
    import numpy as np

    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)
