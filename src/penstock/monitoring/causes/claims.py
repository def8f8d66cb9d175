"""A part of the traffic with the test of its rate and of its share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from penstock.monitoring.causes.cells import Cell, level, multiplied, score, two_sided

LEAST = 5  # requests of a part without which nothing is said of it


@dataclass(frozen=True, slots=True)
class Part:
    """A candidate: which split, which code (of an ordered split: everything from that code on), or the complement of that."""

    split: int
    code: int
    rest: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    part: Part
    kind: Literal["rate", "mix", "new"]
    p: float
    z: float
    term: float
    inside: tuple[Cell, Cell]
    outside: tuple[Cell, Cell]


def tested(part: Part, inside: tuple[Cell, Cell], outside: tuple[Cell, Cell], *, ratios: bool) -> Iterator[Claim]:
    """Cells are (before, during). `ratios`: a rate must stand out as a ratio too. Nothing where there are too few requests."""
    if min(inside[1].n, outside[1].n) < LEAST or outside[0].n < LEAST:
        return
    if inside[0].n < LEAST:
        z = level(inside[1], outside[1])
        weight = inside[1].n / (inside[1].n + outside[1].n)
        yield Claim(part, "new", two_sided(z), z, weight * (inside[1].mean - outside[1].mean), inside, outside)
        return
    weight0, weight1 = (inside[n].n / (inside[n].n + outside[n].n) for n in (0, 1))
    beyond = (inside[1].mean - inside[0].mean) - (outside[1].mean - outside[0].mean)
    spread = sum(cell.of_mean for cell in (*inside, *outside))
    z = min(abs(score(beyond, spread)), multiplied(inside, outside)) if ratios else abs(score(beyond, spread))
    yield Claim(part, "rate", two_sided(z), z, weight1 * beyond, inside, outside)
    moved = abs(score(weight1 - weight0, sum(w * (1 - w) / (inside[n].n + outside[n].n) for n, w in enumerate((weight0, weight1)))))
    z = min(moved, level(inside[0], outside[0]))
    yield Claim(part, "mix", two_sided(z), z, (weight1 - weight0) * (inside[0].mean - outside[0].mean), inside, outside)
