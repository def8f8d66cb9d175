"""The generalised extreme Studentized deviate test (Rosner 1983, Technometrics 25): which points of a sample are outliers, up to a number.

With median and median absolute deviation in place of mean and deviation, as Hochenbaum, Vallis & Kejariwal 2017 do for operations data, so
that outliers do not hide each other.
"""

from __future__ import annotations

from typing import Any


def outliers(values: Any, most: int, level: float) -> Any:
    """Indices of at most `most` outliers, farthest first. `level`: the chance that a normal sample without any is said to have one."""
    import numpy as np
    from scipy.special import stdtrit

    x = np.asarray(values, dtype=float)
    n, kept = len(x), np.arange(len(x))
    taken: list[int] = []
    sure = 0
    for i in range(1, min(most, n - 3) + 1):
        left = x[kept]
        middle = np.median(left)
        spread = 1.4826 * np.median(np.abs(left - middle))
        if spread <= 0:
            break
        distance = np.abs(left - middle) / spread
        at = int(distance.argmax())
        p = 1 - level / (2 * (n - i + 1))
        t = float(stdtrit(n - i - 1, p))
        critical = (n - i) * t / np.sqrt((n - i - 1 + t * t) * (n - i + 1))
        taken.append(int(kept[at]))
        if distance[at] > critical:
            sure = i
        elif i - sure > 10:  # nothing farther in will be one
            break
        kept = np.delete(kept, at)
    return np.array(taken[:sure], dtype=int)
