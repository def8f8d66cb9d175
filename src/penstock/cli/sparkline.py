"""A series in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 30) -> str:
    """From the lowest to the highest block; of more than `width` values each column is a mean. A level series is drawn low."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return ""
    columns = min(width, len(known))
    cuts = [round(place * len(known) / columns) for place in range(columns + 1)]
    means = [sum(known[first:last]) / (last - first) for first, last in pairwise(cuts)]
    low, high = min(means), max(means)
    steps = len(BLOCKS) - 1
    return "".join(BLOCKS[round((mean - low) / (high - low) * steps) if high > low else 0] for mean in means)
