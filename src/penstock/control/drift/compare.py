"""Two tables held against each other, column by column: is it drift, how much, and what moved.

A column has drifted when its distance is beyond chance and not too small to matter. Chance: the rows of both are shuffled and parted anew;
the far quantile of such distances (monitoring/drift/tail.py), at the declared rate for all columns together. To matter: at least LEAST.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.control.drift.tables import Kind, kind_of, read_table
from penstock.core.errors import DataUnusable
from penstock.monitoring.drift.aligned import align
from penstock.monitoring.drift.counts import Counts
from penstock.monitoring.drift.moved import moved_categories, moved_numbers, moved_words, tellable
from penstock.monitoring.drift.numbers import Numbers
from penstock.monitoring.drift.table import SKETCHES, detector
from penstock.monitoring.drift.tail import far_quantile
from penstock.monitoring.drift.words import Words, bucket, words

if TYPE_CHECKING:
    import polars as pl

    from penstock.store.store import Store

SCHEMA, DRAWS, DRAWN_ROWS, SEED = 1, 200, 4000, 7
LEAST: Mapping[str, float] = {"ks": 0.05, "jensen_shannon": 0.05, "unseen": 0.02}  # below, a difference hardly matters
PARTS: Mapping[Kind, tuple[tuple[str, str, str], ...]] = {  # (what, detector, kind of sketch)
    "numbers": (("", "ks", "numbers"),),
    "categories": (("", "jensen_shannon", "counts"),),
    "text": (("words", "jensen_shannon", "words"), ("length", "ks", "numbers"), ("language", "jensen_shannon", "counts")),
}
BARS, MOST_BARS = 30, 12


@dataclass(frozen=True, slots=True)
class _Compared:
    """One thing of one column: two sketches, their distance, and how far chance goes."""

    column: str
    kind: Kind
    what: str
    detector: str
    value: float
    limit: float
    told: Mapping[str, Any]
    plot: Mapping[str, Any]


def compare(one: str, other: str, store: Store | None, *, false_alarms: float = 0.01, columns: Sequence[str] = ()) -> dict[str, Any]:
    """The report as JSON values. `columns`: only these. Raises NotFound, SourceUnreadable, DataUnusable (nothing in common)."""
    first, second = read_table(one, store), read_table(other, store)
    shared = [name for name in first.columns if name in second.columns and (not columns or name in columns)]
    kinds = {name: kind for name in shared if (kind := kind_of(first[name], second[name])) is not None}
    if not kinds:
        raise DataUnusable(
            f"{one} and {other} have no column in common that can be compared",
            remedy=f"Columns there: {', '.join(first.columns[:12])}; and: {', '.join(second.columns[:12])}.",
        )
    count = sum(len(PARTS[kind]) for kind in kinds.values())
    found = [part for name, kind in kinds.items() for part in _column(name, kind, first[name], second[name], false_alarms / count)]
    told = sorted((_told(part) for part in found), key=lambda row: (-row["ratio"], row["column"], row["what"]))
    return {
        "schema": SCHEMA,
        "first": {"source": one, "rows": first.height},
        "second": {"source": other, "rows": second.height},
        "false_alarms": false_alarms,
        "drifted": sum(row["verdict"] == "drifted" for row in told),
        "compared": len(told),
        "columns": told,
        "left_out": [name for name in dict.fromkeys([*first.columns, *second.columns]) if name not in kinds],
    }


def _column(name: str, kind: Kind, one: pl.Series, other: pl.Series, above: float) -> list[_Compared]:
    both = [_values(kind, side) for side in (one, other)]
    found = []
    for what, method, sketch in PARTS[kind]:
        values = [_part(what, side) for side in both]
        found.append(_compared((name, kind, what), method, sketch, values, above))
    return found


def _values(kind: Kind, series: pl.Series) -> Any:
    if kind == "numbers":
        return np.array([np.nan if value is None else float(value) for value in series.to_list()])
    if kind == "categories":
        return [None if value is None else str(value) for value in series.to_list()]
    return [value or "" for value in series.to_list()]


def _part(what: str, values: Any) -> Any:
    if what == "length":
        return np.array([float(len(text)) for text in values])
    if what == "language":
        from penstock.screening.language import languages

        return languages(values[:20_000])
    return values


def _compared(name: tuple[str, Kind, str], method: str, kind: str, values: Sequence[Any], above: float) -> _Compared:
    compares: Any = detector(method)
    base, _ = SKETCHES.load(kind).fit(values[0][:1])
    lifted = [base.lift(side) for side in values]
    sketches = [base.of(side) for side in lifted]
    value = compares.distance(*sketches)
    sizes = [len(side) for side in lifted]
    drawn = [max(1, round(size * min(1.0, DRAWN_ROWS / max(sizes)))) for size in sizes]
    chance = np.random.default_rng(SEED)
    distances = []
    for _ in range(DRAWS):
        shares = chance.multivariate_hypergeometric(sizes, drawn[0]), chance.multivariate_hypergeometric(sizes, drawn[1])
        sides = []
        for taken in shares:  # rows of both sides, mixed
            parts = [base.of(rows[chance.integers(0, len(rows), count)]) for rows, count in zip(lifted, taken, strict=True)]
            sides.append(parts[0].merge(parts[1]))
        distances.append(compares.distance(*sides))
    scale = ((1 / sizes[0] + 1 / sizes[1]) / (1 / drawn[0] + 1 / drawn[1])) ** (compares.order / 2)
    limit = max(far_quantile(np.array(distances), above) * scale, 1e-9)
    column, shown, what = name
    told, plot = _explained(sketches[0], values, lifted[1], sketches[1])
    return _Compared(column, shown, what, method, value, limit, told, plot)


def _explained(first: Any, values: Sequence[Any], lifted: Any, second: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What moved, and what is drawn."""
    if isinstance(first, Words):
        named = {bucket(word): word for text in values[0][:20_000] for word in words(text) if tellable(word)}
        return moved_words(first, values[1][:20_000], named).told, {}
    if isinstance(first, Counts):
        names = sorted({*first.counts, *second.counts}, key=lambda name: (-(first.counts.get(name, 0) + second.counts.get(name, 0)), name))
        bars = [[name, first.counts.get(name, 0) / max(first.rows, 1), second.counts.get(name, 0) / max(second.rows, 1)] for name in names]
        return moved_categories(first, values[1], lifted).told, {"bars": bars[:MOST_BARS]}
    return moved_numbers(first, values[1]).told, _histogram(first, second)


def _histogram(first: Numbers, second: Numbers) -> dict[str, Any]:
    """Shares of both in BARS equal bins between the 0.5th and 99.5th percentile of both together; the ends hold the rest."""
    whole = first.merge(second)
    low, high = (float(end) for end in whole.quantiles((0.005, 0.995)))
    if not low < high:
        return {"bars": [[f"{low:.6g}", 1.0, 1.0]]}
    pair = align(first, second)
    assert pair.places is not None
    place = np.clip(((pair.places[:-1] - low) / (high - low) * BARS).astype(int), 0, BARS - 1)
    shares = [np.bincount(place, side[:-1], BARS) / max(side.sum(), 1) for side in (pair.reference, pair.current)]
    return {"low": low, "high": high, "shares": [side.round(6).tolist() for side in shares]}


def _told(part: _Compared) -> dict[str, Any]:
    beyond, matters = part.value > part.limit, part.value >= LEAST.get(part.detector, 0.0)
    return {
        "column": part.column,
        "what": part.what,
        "kind": part.kind,
        "detector": part.detector,
        "value": float(f"{part.value:.6g}"),
        "chance": float(f"{part.limit:.6g}"),
        "ratio": float(f"{part.value / part.limit:.6g}"),
        "verdict": "drifted" if beyond and matters else "small" if beyond else "same",
        "moved": dict(part.told) if beyond else {},
        "plot": dict(part.plot),
    }
