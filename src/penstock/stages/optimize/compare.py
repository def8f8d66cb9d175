"""How far an export's outputs lie from the original's, on the same rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ROWS = 256  # of the validation split
THREADS = 1  # both sides add in one order then, so the numbers repeat


@dataclass(frozen=True, slots=True)
class Comparison:
    """Over `positions` (rows of a classifier, tokens of a decoder): the largest difference of a logit, the share with the same
    arg-max, and the mean Kullback-Leibler divergence KL(original || export) in nats."""

    positions: int
    max_logit_difference: float
    agreement: float
    kl_nats: float

    def as_json(self) -> dict[str, float]:
        """Four significant digits: more would be noise of the machine."""
        return {name: value if isinstance(value, int) else float(f"{value:.4g}") for name, value in asdict(self).items()}


def compare(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Comparison:
    """`pairs` of logits (positions, classes): the original's, the export's."""
    import numpy as np

    positions, largest, same, divergence = 0, 0.0, 0, 0.0
    for original, export in pairs:
        a, b = original.astype(np.float64), export.astype(np.float64)
        positions += len(a)
        largest = max(largest, float(np.abs(a - b).max()))
        same += int((a.argmax(-1) == b.argmax(-1)).sum())
        log_a, log_b = log_softmax(a), log_softmax(b)
        divergence += float((np.exp(log_a) * (log_a - log_b)).sum())
    if not positions:
        raise ValueError("nothing to compare: no rows")
    return Comparison(positions, largest, same / positions, max(0.0, divergence / positions))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """ln of the probabilities along the last axis."""
    import numpy as np

    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found
