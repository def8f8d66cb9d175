"""Logits as probabilities, probabilities as labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis; a new array."""
    import numpy as np

    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return found


def ranked(probabilities: np.ndarray, labels: Sequence[str], top_k: int | None) -> list[tuple[str, float]]:
    """The `top_k` (None: all) labels of one text with their probabilities (labels,), best first."""
    if top_k == 1:
        best = int(probabilities.argmax())
        return [(labels[best], float(probabilities[best]))]
    order = (-probabilities).argsort(kind="stable")[:top_k]
    return [(labels[at], value) for at, value in zip(order.tolist(), probabilities[order].tolist(), strict=True)]
