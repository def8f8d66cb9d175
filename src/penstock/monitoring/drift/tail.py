"""The far quantile of a statistic from a limited number of draws: a generalised Pareto distribution beyond the 90th percentile.

Pickands 1975 for the shape, probability-weighted moments (Hosking & Wallis 1987) for its parameters. A tail is never taken to be
shorter than an exponential one by more than SHORTEST: draws from one sample say little about where a distribution ends.
"""

from __future__ import annotations

import numpy as np

BEYOND = 0.9
LONGEST, SHORTEST = 0.5, -0.2  # shape: heavier, lighter than exponential (0)


def far_quantile(draws: np.ndarray, above: float) -> float:
    """The value that a draw is over with probability `above`. By order statistics where there are enough draws beyond it."""
    ordered = np.sort(np.asarray(draws, float))
    if not len(ordered):
        raise ValueError("a quantile needs draws")
    if above >= 1 - BEYOND or len(ordered) < 50:
        return float(np.quantile(ordered, 1 - above))
    start = ordered[int(BEYOND * len(ordered)) - 1]
    beyond = ordered[ordered > start] - start
    if len(beyond) < 5 or beyond.max() - beyond.min() < 1e-12 * abs(ordered[-1]):
        return float(ordered[-1])
    shape, scale = pareto(beyond)
    ratio = above * len(ordered) / len(beyond)
    if ratio >= 1:
        return float(start)
    further = scale * -np.log(ratio) if abs(shape) < 1e-9 else scale / shape * (ratio**-shape - 1)
    return float(start + further)


def pareto(excesses: np.ndarray) -> tuple[float, float]:
    """(shape, scale) of excesses above 0; shape as in ratio ** -shape, so above 0 is heavy."""
    ordered = np.sort(excesses)
    count = len(ordered)
    mean = float(ordered.mean())
    weighted = float((ordered * (1 - (np.arange(1, count + 1) - 0.35) / count)).mean())
    shape = 2 - mean / max(mean - 2 * weighted, 1e-12)
    bounded = min(max(shape, SHORTEST), LONGEST)
    return bounded, mean * (1 - bounded)
