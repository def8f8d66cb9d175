"""The classifier two-sample test (Lopez-Paz & Oquab 2017): can a model tell vectors of the window from those of the reference?

The model is of nearest neighbours, each row judged by the other rows: by how near the window's nearest come to it, and how near the
reference's. A linear one sees less of what is new in many small places. The distance is |2 AUC - 1|. It costs some hundredths of a second,
so it is asked when another detector has raised an alarm, and its answer is evidence.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from penstock.monitoring.drift.nearest import unit
from penstock.monitoring.drift.sample import Sample

NEIGHBOURS, LEAST = 5, 20
MOST = 2048  # rows of either side


class ClassifierTest:
    kinds: ClassVar[tuple[str, ...]] = ("sample",)
    order: ClassVar[int] = 1

    def distance(self, reference: Sample, current: Sample) -> float:
        return abs(2 * auc(reference.vectors, current.vectors) - 1)


def auc(reference: np.ndarray, current: np.ndarray) -> float:
    """How often a row of the current ones is told as such before one of the reference; 0.5 where there are too few to say."""
    if min(len(reference), len(current)) < LEAST:
        return 0.5
    rows = unit(np.concatenate([reference[:MOST], current[:MOST]]))
    is_current = np.arange(len(rows)) >= min(len(reference), MOST)
    scores = _scores(rows, is_current)
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # ties share their mean rank
    now = int(is_current.sum())
    return float((ranks[is_current].sum() - now * (now + 1) / 2) / (now * (len(rows) - now)))


def _scores(rows: np.ndarray, is_current: np.ndarray) -> np.ndarray:
    """(rows,) how much nearer the current ones are. As many neighbours are asked of each side as its size would have among the nearest."""
    alike = rows @ rows.T
    np.fill_diagonal(alike, -1.0)
    now, then = int(is_current.sum()), int((~is_current).sum())
    few = max(1, round(NEIGHBOURS * min(now, then) / max(now, then)))
    of_current, of_reference = (NEIGHBOURS, few) if now > then else (few, NEIGHBOURS)
    means = [
        np.partition(alike[:, side], -count, axis=1)[:, -count:].mean(1)
        for side, count in ((is_current, of_current), (~is_current, of_reference))
    ]
    made: np.ndarray = (means[0] - means[1]).round(6)
    return made
