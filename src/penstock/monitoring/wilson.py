"""Wilson's score interval (1927) of a share: sound near 0 and 1, where the normal approximation is not."""

from __future__ import annotations

import math


def bounds(share: float, count: float, z: float) -> tuple[float, float]:
    """Ends of the interval of a share that was seen in `count` > 0 independent cases; `z` standard errors wide to each side.

    Also of a mean of values in [0, 1]: nothing of that mean varies more than a share does, so the interval is then too wide, if anything.
    """
    spread = 1 + z * z / count
    centre = (share + z * z / (2 * count)) / spread
    half = z / spread * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
