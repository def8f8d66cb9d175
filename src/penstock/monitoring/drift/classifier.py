"""The classifier two-sample test (Lopez-Paz & Oquab 2017): can a model tell vectors of the window from those of the reference?

A ridge regression on the vectors, each row judged by a model that has not seen it (cross-fitting); the distance is |2 AUC - 1|.
It costs a few hundredths of a second, so it is asked when another detector has raised an alarm, and its answer is evidence.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from penstock.monitoring.drift.sample import Sample

FOLDS, SEED, RIDGE = 4, 5, 1e-3


class ClassifierTest:
    kinds: ClassVar[tuple[str, ...]] = ("sample",)
    order: ClassVar[int] = 1

    def distance(self, reference: Sample, current: Sample) -> float:
        return abs(2 * auc(reference.vectors, current.vectors) - 1)


def auc(reference: np.ndarray, current: np.ndarray) -> float:
    """How often a row of the current ones is told as such before one of the reference; 0.5 where that cannot be learnt."""
    if min(len(reference), len(current)) < FOLDS:
        return 0.5
    is_current = np.arange(len(reference) + len(current)) >= len(reference)
    scores = cross_fitted(np.concatenate([reference, current]).astype(np.float64), is_current)
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.bincount(group, ranks) / sizes)[group]
    now = int(is_current.sum())
    return float((ranks[is_current].sum() - now * (now + 1) / 2) / (now * (len(scores) - now)))


def cross_fitted(vectors: np.ndarray, is_current: np.ndarray) -> np.ndarray:
    """(rows,) scores, higher for what looks like the current ones."""
    rows = np.hstack([vectors, np.ones((len(vectors), 1))])
    wanted = np.where(is_current, 1.0, -1.0)
    weight = np.where(is_current, 0.5 / is_current.sum(), 0.5 / (~is_current).sum())
    fold = np.random.default_rng(SEED).permutation(len(rows)) % FOLDS
    scores = np.zeros(len(rows))
    for one in range(FOLDS):
        learnt = fold != one
        left = (rows[learnt] * weight[learnt, None]).T
        scale = float(np.trace(left @ rows[learnt])) / rows.shape[1]
        slope = np.linalg.solve(left @ rows[learnt] + max(scale, 1e-9) * RIDGE * np.eye(rows.shape[1]), left @ wanted[learnt])
        scores[~learnt] = rows[~learnt] @ slope
    return scores
