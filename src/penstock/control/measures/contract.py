"""A measure: which metric of the gateway's `/metrics`, and what is made of it. Writers turn it into a query: promql.py is one of them.

Every measure is of one deployment; its writer adds that. `where`: the values that labels must have; one that begins with `~` is a pattern
(RE2, whole value). `by`: the labels whose values are told apart; everything else is added up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Level:
    """A gauge as it is. `how`: what becomes of several series."""

    metric: str
    where: Labels = field(default_factory=dict)
    by: tuple[str, ...] = ()
    how: Literal["sum", "max"] = "sum"


@dataclass(frozen=True, slots=True)
class Rate:
    """How much a counter grows a second."""

    metric: str
    where: Labels = field(default_factory=dict)
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quantile:
    """Of a histogram, as well as its buckets tell; in the histogram's unit. `share`: 0.95 is the 95th percentile."""

    share: float
    metric: str
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sum:
    """Of rates with one `by`. The first is always there; of the others what is missing counts as 0."""

    parts: Sequence[Rate]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Nothing while `whole` is nothing; 0 when only `part` is. Both have one `by`."""

    part: Rate | Level | Sum
    whole: Rate | Level | Sum


Measure = Level | Rate | Quantile | Sum | Ratio


def split(measure: Measure, by: tuple[str, ...]) -> Measure:
    """The same, told apart by those labels."""
    if isinstance(measure, Ratio):
        return Ratio(_split(measure.part, by), _split(measure.whole, by))
    return replace(measure, by=by) if isinstance(measure, Quantile) else _split(measure, by)


def _split(measure: Rate | Level | Sum, by: tuple[str, ...]) -> Rate | Level | Sum:
    return Sum([replace(part, by=by) for part in measure.parts]) if isinstance(measure, Sum) else replace(measure, by=by)
