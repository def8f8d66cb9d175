"""The value that is passed by chance with a given small probability, from points of which few or none passed it.

Peaks over a threshold: what lies above a high quantile follows a generalised Pareto distribution (Pickands 1975), fitted by moments with
weights (Hosking & Wallis 1987), as Siffer et al. 2017 ("Anomaly detection in streams with extreme value theory") do for streams.
"""

from __future__ import annotations

import math
from typing import Any

PEAKS = 0.05  # of points
LEAST_PEAKS = 20
LIGHTEST, HEAVIEST = -0.5, 0.5  # of the shape; beyond, moments do not exist or few points say too much


def upper_limit(scores: Any, chance: float) -> float:
    """The score that a point of the same kind passes with probability `chance`. `scores`: at least LEAST_PEAKS of them."""
    import numpy as np

    ordered = np.sort(np.asarray(scores, dtype=float))
    n = len(ordered)
    peaks = max(LEAST_PEAKS, int(n * max(PEAKS, 4 * chance)))
    if n <= peaks or chance * n > peaks:
        return float(np.quantile(ordered, 1 - chance))
    threshold = float(ordered[n - peaks - 1])
    above = ordered[n - peaks :] - threshold
    shape, scale = _pareto(above)
    # The mean rate over fits, not that of the average fit, is to be what was declared: half a standard error of the shape makes it so.
    shape = min(shape + 0.5 / math.sqrt(peaks), HEAVIEST)
    odds = peaks / (n * chance)
    if scale <= 0:
        return threshold
    return threshold + (scale * math.log(odds) if abs(shape) < 1e-6 else scale / shape * (odds**shape - 1))


def _pareto(above: Any) -> tuple[float, float]:
    """Shape and scale of the peaks, which are sorted."""
    import numpy as np

    n, mean = len(above), float(above.mean())
    weighted = float((above * (n - np.arange(1, n + 1)) / (n - 1)).mean())
    if mean <= 0 or mean - 2 * weighted <= 0:
        return 0.0, max(mean, 0.0)
    shape = 2 - mean / (mean - 2 * weighted)
    shape = min(max(shape, LIGHTEST), HEAVIEST)
    return shape, mean * (1 - shape)
