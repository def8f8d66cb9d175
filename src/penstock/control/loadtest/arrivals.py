"""When requests are due: the shape of a load as times in seconds from its start. Pure: the same seed gives the same times.

A shape is straight pieces of rate over time. Random arrivals are an inhomogeneous Poisson process, made by carrying unit-rate arrivals
back through the cumulated rate (Çinlar 1975); evenly spaced ones are its whole numbers carried back the same way.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from penstock.core.errors import BadInput

Arrivals = Literal["poisson", "uniform"]
MOST_REQUESTS = 20_000_000  # of one test: their times and outcomes are kept in memory, about 50 bytes each


@dataclass(frozen=True, slots=True)
class Piece:
    """`seconds` during which the rate goes in a straight line from `start` to `end` (requests/s)."""

    seconds: float
    start: float
    end: float

    @property
    def requests(self) -> float:
        return self.seconds * (self.start + self.end) / 2

    def after(self, count: float) -> float:
        """Seconds into the piece when `count` requests are due; `count` lies within `requests`."""
        slope = (self.end - self.start) / self.seconds
        if abs(slope) < 1e-12:
            return count / self.start
        return min(self.seconds, 2 * count / (self.start + math.sqrt(max(0.0, self.start**2 + 2 * slope * count))))


@dataclass(frozen=True, slots=True)
class Shape:
    """`kind` and `pieces`; `seconds` and the highest rate follow."""

    kind: str
    pieces: tuple[Piece, ...]

    @property
    def seconds(self) -> float:
        return sum(piece.seconds for piece in self.pieces)

    @property
    def requests(self) -> float:
        return sum(piece.requests for piece in self.pieces)

    def rate_at(self, at: float) -> float:
        """Requests/s wanted `at` seconds after the start; 0 outside."""
        for piece in self.pieces:
            if 0 <= at < piece.seconds:
                return piece.start + (piece.end - piece.start) * at / piece.seconds
            at -= piece.seconds
        return 0.0


def constant(rate: float, seconds: float) -> Shape:
    return _checked(Shape("constant", (Piece(seconds, rate, rate),)))


def step(rates: Sequence[float], seconds: float) -> Shape:
    """Each rate for an equal part of `seconds`."""
    return _checked(Shape("step", tuple(Piece(seconds / max(1, len(rates)), rate, rate) for rate in rates)))


def ramp(start: float, end: float, seconds: float) -> Shape:
    return _checked(Shape("ramp", (Piece(seconds, start, end),)))


def spike(base: float, peak: float, seconds: float) -> Shape:
    """`base`, then `peak` at once for the middle fifth of `seconds`, then `base` again."""
    fifth = seconds / 5
    return _checked(Shape("spike", (Piece(2 * fifth, base, base), Piece(fifth, peak, peak), Piece(2 * fifth, base, base))))


def _checked(shape: Shape) -> Shape:
    if not shape.pieces or any(not math.isfinite(p.seconds) or p.seconds <= 0 for p in shape.pieces):
        raise BadInput(f"a load of {shape.seconds:g} s cannot be made", remedy="Give a duration above 0, such as --duration 30s.")
    for piece in shape.pieces:
        if not (math.isfinite(piece.start) and math.isfinite(piece.end)) or min(piece.start, piece.end) < 0:
            raise BadInput(f"a rate of {min(piece.start, piece.end):g} requests/s cannot be made; it must be at least 0")
    if shape.requests < 1:
        raise BadInput(f"{shape.requests:.2g} requests are due in {shape.seconds:g} s", remedy="Raise the rate or the duration.")
    if shape.requests > MOST_REQUESTS:
        raise BadInput(f"{shape.requests:,.0f} requests are more than a test holds ({MOST_REQUESTS:,})", remedy="Test for a shorter time.")
    return shape


def times(shape: Shape, arrivals: Arrivals, seed: int) -> Iterator[float]:
    """Seconds from the start, ascending."""
    rng = random.Random(seed)
    before, offset, due = 0.0, 0.0, 0.5 if arrivals == "uniform" else rng.expovariate(1.0)
    for piece in shape.pieces:
        while due <= before + piece.requests:
            yield offset + piece.after(due - before)
            due += 1.0 if arrivals == "uniform" else rng.expovariate(1.0)
        before += piece.requests
        offset += piece.seconds


def parse_rates(text: str, option: str, least: int, most: int | None = None) -> list[float]:
    """`"10,20,40"` or `"10:100"` as numbers. Raises BadInput naming the option."""
    mark = ":" if ":" in text else ","
    try:
        rates = [float(part) for part in text.split(mark)]
    except ValueError:
        rates = []
    if len(rates) < least or (most is not None and len(rates) > most):
        wanted = "two rates, such as 10:100" if most == 2 else "rates, such as 10,20,40"
        raise BadInput(f"{option} {text!r} is not {wanted}")
    return rates
