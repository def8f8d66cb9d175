"""Confidence intervals: Wilson for a share of rows, the percentile bootstrap over rows for everything else.

Resampling rows with replacement is drawing multinomial weights for them (Efron 1979), so each statistic is one matrix product
instead of a loop. The seed is fixed: equal rows give equal intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from penstock.monitoring.wilson import bounds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

SEED = 20_260_701
CHUNK_CELLS = 4_000_000  # weights held at once: 32 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its confidence interval, in the metric's unit."""

    value: float
    low: float
    high: float


def wilson(right: int, rows: int, confidence: float) -> Interval:
    """Share `right / rows` with Wilson's score interval (1927); sound for shares near 0 and 1. `rows` ≥ 1."""
    share = right / rows
    return Interval(share, *bounds(share, rows, NormalDist().inv_cdf(0.5 + confidence / 2)))


def percentile(value: float, resampled: Floats, confidence: float) -> Interval:
    """`value` between the percentiles of its bootstrap distribution `resampled` (B,)."""
    import numpy as np

    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def weights(rows: int, resamples: int) -> Iterator[Floats]:
    """Bootstrap weights of `rows` equally likely rows, in chunks (b, rows) whose b add up to `resamples`."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    chunk = max(1, CHUNK_CELLS // rows)
    share = np.full(rows, 1 / rows)
    for start in range(0, resamples, chunk):
        yield rng.multinomial(rows, share, size=min(chunk, resamples - start)).astype(np.float64)


def cell_counts(cells: Integers, resamples: int) -> tuple[Integers, Floats]:
    """Bootstrap of a categorical column `cells` (N,): the distinct cells (K,) and how often each is drawn, (1 + B, K).

    The first row holds the counts as observed. Drawing K counts instead of N rows has the same distribution and costs far less.
    """
    import numpy as np

    distinct, observed = np.unique(cells, return_counts=True)
    drawn = np.random.default_rng(SEED).multinomial(len(cells), observed / len(cells), size=resamples)
    return distinct, np.vstack([observed, drawn]).astype(np.float64)


def resampled_sums(columns: Floats, resamples: int) -> Floats:
    """Weighted sums (B, S) of `columns` (N, S) over bootstrap resamples of the rows."""
    import numpy as np

    return np.concatenate([chunk @ columns for chunk in weights(len(columns), resamples)])


def of_sums(columns: Floats, statistic: Callable[[Floats], Any], resamples: int, confidence: float) -> Interval:
    """Interval of a statistic of column sums: `statistic` maps sums (B, S) to values (B,)."""
    observed = float(statistic(columns.sum(axis=0, keepdims=True))[0])
    return percentile(observed, statistic(resampled_sums(columns, resamples)), confidence)
