"""Did the versions get the shares that they were meant to get? If not, something lost or moved requests, and no comparison can be trusted.

Chi-square is shown because everybody knows it; what raises the flag is a Bayes factor that may be looked at all the time (Lindon & Malek
2022, "Anytime-valid inference for multinomial count data"): against counts drawn with the wanted shares it bets on shares drawn from a
Beta distribution around them. If all is well, it exceeds 1/level ever with probability at most `level`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEVEL = 0.001
STRENGTH = 100.0  # units that the Beta distribution is worth


@dataclass(frozen=True, slots=True)
class Ratio:
    """`p`: of the chi-square test, valid for one look. `mismatch`: the flag, valid for any number of looks."""

    expected: float
    observed: float
    p: float
    mismatch: bool


def check_ratio(a: int, b: int, share: float) -> Ratio:
    """Counts of units that were given to A and B, when B was meant to get `share` of them (0 < share < 1)."""
    total = a + b
    if total == 0:
        return Ratio(share, math.nan, 1.0, False)
    chi_square = (b - total * share) ** 2 / (total * share * (1 - share))
    return Ratio(share, b / total, math.erfc(math.sqrt(chi_square / 2)), log_bayes_factor(a, b, share) >= -math.log(LEVEL))


def log_bayes_factor(a: int, b: int, share: float) -> float:
    at_b, at_a = STRENGTH * share, STRENGTH * (1 - share)
    return _log_beta(at_a + a, at_b + b) - _log_beta(at_a, at_b) - a * math.log(1 - share) - b * math.log(share)


def _log_beta(x: float, y: float) -> float:
    return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)
