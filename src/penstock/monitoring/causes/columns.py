"""Requests of one period as columns: what is asked of each, and the parts of the traffic that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_VALUES = 50  # of one kind of part, the most frequent
QUANTILES = 10
LEAST_NUMBERS = 20


@dataclass(frozen=True, slots=True)
class Period:
    """`outcome`: a number a request, such as 1.0 for one that failed. `parts`: by kind (replica, key, …), a value or None a request.
    `numbers`: by kind (prompt_tokens, …), a number or None a request; they become parts by thresholds.
    """

    outcome: Sequence[float]
    parts: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    numbers: Mapping[str, Sequence[float | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Split:
    """One kind of part over both periods, coded: `codes` are arrays of indices into `names`, -1 for requests of none of them.

    `ordered`: names are ranges of a number, rising; candidates are then everything above a cut.
    """

    kind: str
    names: tuple[str, ...]
    before: Any
    during: Any
    ordered: bool = False

    @property
    def halves(self) -> bool:
        """Whether every request is of one of two values."""
        return len(self.names) == 2 and not self.ordered and bool((self.before >= 0).all() and (self.during >= 0).all())


def splits(before: Period, during: Period) -> list[Split]:
    """Every kind of part that divides the requests at all."""
    found = [_coded(kind, before.parts[kind], during.parts[kind]) for kind in before.parts if kind in during.parts]
    found += [_cut(kind, before.numbers[kind], during.numbers[kind]) for kind in before.numbers if kind in during.numbers]
    return [one for one in found if one is not None]


def _coded(kind: str, before: Sequence[str | None], during: Sequence[str | None]) -> Split | None:
    import numpy as np

    counts: dict[str, int] = {}
    for value in (*before, *during):
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    names = sorted(counts, key=lambda name: (-counts[name], name))[:MOST_VALUES]
    if not names or (len(counts) == 1 and counts[names[0]] == len(before) + len(during)):
        return None
    index = {name: n for n, name in enumerate(names)}

    def coded(values: Sequence[str | None]) -> Any:
        return np.fromiter((-1 if value is None else index.get(value, -1) for value in values), np.int64, len(values))

    return Split(kind, tuple(names), coded(before), coded(during))


def _cut(kind: str, before: Sequence[float | None], during: Sequence[float | None]) -> Split | None:
    import numpy as np

    arrays = [np.array([np.nan if v is None else v for v in values], dtype=float) for values in (before, during)]
    whole = np.concatenate(arrays)
    known = whole[np.isfinite(whole)]
    if len(known) < LEAST_NUMBERS:
        return None
    cuts = np.unique(np.quantile(known, np.linspace(0, 1, QUANTILES + 1)[1:-1], method="lower"))
    cuts = cuts[cuts < known.max()]
    if not len(cuts):
        return None
    names = (f"≤ {cuts[0]:.6g}", *(f"> {cut:.6g}" for cut in cuts))
    first, second = (np.where(np.isfinite(a), np.searchsorted(cuts, a, side="left"), -1) for a in arrays)
    return Split(kind, names, first, second, ordered=True)
