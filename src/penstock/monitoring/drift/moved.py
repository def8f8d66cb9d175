"""What moved in a window that is over its limit: words, categories, ranges of numbers; and which rows are of that kind.

Words are named from the window's own texts (or from earlier live ones), since the reference holds none; what masking put in is never named.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penstock.monitoring.drift.aligned import align
from penstock.monitoring.drift.counts import Counts
from penstock.monitoring.drift.numbers import Numbers
from penstock.monitoring.drift.words import Words, bucket, words

MOST, SURE = 12, 2.5  # told of each kind; standard errors (only windows over their limit are asked: a few by chance do no harm)
SHORTEST = 2  # letters of a word that is told


@dataclass(frozen=True, slots=True)
class Moved:
    """`told`: JSON values for evidence; `rows`: how much each row of the window is of what moved (0: not at all)."""

    told: Mapping[str, Any] = field(default_factory=dict)
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0))


def moved_words(reference: Words, texts: Sequence[str], known: Mapping[int, str] | None = None) -> Moved:
    """`known`: names of buckets from earlier live texts, by which words that fell can be told."""
    rows = [words(text) for text in texts]
    said = Counter(word for row in rows for word in row)
    sizes = max(reference.rows, 1.0), max(len(texts), 1)
    grown, weights = [], {}
    for word, count in said.items():
        then, now = reference.counts[bucket(word)] / sizes[0], count / sizes[1]
        sure = _errors(then, now, sizes)
        if sure >= SURE and count >= 3:
            weights[word] = sure
            if tellable(word):
                grown.append((sure, word, now, then))
    fell = []
    for place, word in (known or {}).items():
        if word not in said and tellable(word):
            then = reference.counts[place] / sizes[0]
            if (sure := _errors(0.0, then, (sizes[1], sizes[0]))) >= SURE:
                fell.append((sure, word, 0.0, then))
    told = {name: _told(found) for name, found in (("words", grown), ("vanished", fell)) if found}
    scores = np.array([sum(weights.get(word, 0.0) for word in row) / math.sqrt(len(row) or 1) for row in rows])
    return Moved(told, scores)


def tellable(word: str) -> bool:
    return word[0] != "[" and len(word) >= SHORTEST and not word.strip("0")[:1].isdigit() and word.strip("0") != ""


def _told(found: list[tuple[float, str, float, float]]) -> list[dict[str, Any]]:
    ordered = sorted(found, key=lambda one: (-one[0], one[1]))[:MOST]
    return [{"word": word, "share": _share(now), "was": _share(then), "new": bool(then == 0)} for _, word, now, then in ordered]


def moved_categories(reference: Counts, values: Sequence[Any], lifted: np.ndarray) -> Moved:
    """`lifted`: the values as the sketch names them."""
    current = reference.of(lifted)
    sizes = max(reference.rows, 1.0), max(float(len(values)), 1.0)
    changes, grown = [], {}
    for name in {*reference.counts, *current.counts}:
        then, now = reference.counts.get(name, 0.0) / sizes[0], current.counts.get(name, 0.0) / sizes[1]
        sure = _errors(then, now, sizes)
        if abs(sure) >= SURE:
            changes.append((abs(sure), name, now, then))
            if sure > 0:
                grown[name] = sure
    ordered = sorted(changes, key=lambda one: (-one[0], one[1]))[:MOST]
    told = {"values": [{"value": name, "share": _share(now), "was": _share(then)} for _, name, now, then in ordered]} if ordered else {}
    return Moved(told, np.array([grown.get(name, 0.0) for name in lifted.tolist()]))


def moved_numbers(reference: Numbers, values: np.ndarray) -> Moved:
    """Quantiles then and now, and the range whose share grew most."""
    shares = (0.05, 0.5, 0.95)
    current = reference.of(reference.lift(values))
    then, now = reference.quantiles(shares), current.quantiles(shares)
    told: dict[str, Any] = {f"p{share * 100:02.0f}": [_number(a), _number(b)] for share, a, b in zip(shares, then, now, strict=True)}
    if reference.missing or current.missing:
        told["missing"] = [_share(reference.missing / max(reference.rows, 1)), _share(current.missing / max(current.rows, 1))]
    pair = align(reference, current)
    one, other = (np.cumsum(side) for side in pair.shares)
    gap = other - one
    rows = np.zeros(len(values))
    if pair.places is not None and len(pair.places) > 1 and np.abs(gap[:-1]).max() > 0:
        at = int(np.abs(gap[:-1]).argmax())
        edge, below = float(pair.places[at]), bool(gap[at] > 0)
        inside = np.asarray(values) <= edge if below else np.asarray(values) > edge
        then_share = float(one[at]) if below else 1 - float(one[at])
        now_share = float(other[at]) if below else 1 - float(other[at])
        range_ = [None, _number(edge)] if below else [_number(edge), None]
        told["grew"] = {"range": range_, "share": _share(now_share), "was": _share(then_share)}
        rows = inside.astype(float)
    return Moved(told, rows)


def _errors(then: float, now: float, sizes: tuple[float, float]) -> float:
    """Standard errors by which a share rose (below 0: fell); half a row is added on both sides, so that none at all is no certainty."""
    one, other = then * sizes[0] + 0.5, now * sizes[1] + 0.5
    pooled = (one + other) / (sizes[0] + sizes[1] + 1)
    spread = math.sqrt(max(pooled * (1 - pooled), 1e-12) * (1 / sizes[0] + 1 / sizes[1]))
    return (other / (sizes[1] + 0.5) - one / (sizes[0] + 0.5)) / spread


def _share(value: float) -> float:
    return round(float(value), 4)


def _number(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
