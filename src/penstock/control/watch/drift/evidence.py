"""What is told with a drift signal: little while all is well; what moved, where, and which requests, once it is over its limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.monitoring.drift.classifier import auc
from penstock.monitoring.drift.contract import Sketch
from penstock.monitoring.drift.counts import Counts
from penstock.monitoring.drift.moved import Moved, moved_categories, moved_numbers, moved_words, tellable
from penstock.monitoring.drift.nearest import Nearest
from penstock.monitoring.drift.numbers import Numbers
from penstock.monitoring.drift.slices import concentrated
from penstock.monitoring.drift.standard import Reading, Standard
from penstock.monitoring.drift.topics import as_rows, topics
from penstock.monitoring.drift.words import Words, bucket, words
from penstock.stages.reference.features import Looked

NEAR = 0.8  # of its limit
MOST_KNOWN = 4096  # words of earlier windows whose names are remembered


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`known`: names of earlier live words by bucket; `usual`: the reference's words, where they are compared."""

    known: Mapping[int, str]
    usual: Sketch | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """A signal of one window: `values` is its column."""

    standard: Standard
    reading: Reading
    values: Any


def evidence(read: Read, rows: Sequence[Looked], vocabulary: Vocabulary, alarmed: bool) -> dict[str, Any]:
    """`alarmed`: some signal of this window is over its limit: then those near theirs are explained too."""
    standard, reading, values = read.standard, read.reading, read.values
    told: dict[str, Any] = {
        "window": len(rows),
        "detectors": {name: {"value": _short(value), "limit": _short(limit)} for name, (value, limit) in reading.parts.items()},
    }
    if not alarmed or reading.ratio < NEAR:
        return told
    moved = _moved(standard, rows, values, vocabulary)
    told |= {"severity": reading.severity, "ratio": _short(reading.ratio), **moved.told}
    ids = [row.id for row in rows]
    if examples := as_rows(moved, ids):
        told["examples"] = examples
    if len(moved.rows) == len(rows) and (where := concentrated(_strange(moved.rows), _fields(rows, standard.asked.signal))):
        told["slices"] = where
    return told


def _moved(standard: Standard, rows: Sequence[Looked], values: Any, vocabulary: Vocabulary) -> Moved:
    sketches = {part.sketch.kind: part.sketch for part in standard.parts}
    if isinstance(usual := sketches.get("words"), Words):
        return moved_words(usual, values, vocabulary.known)
    if isinstance(nearest := sketches.get("nearest"), Nearest):
        common = vocabulary.usual if isinstance(vocabulary.usual, Words) else None
        found = topics(nearest, values, [row.text or "" for row in rows], [row.id for row in rows], common)
        told = {**found.told, "classifier_auc": _short(auc(nearest.sample, values))}
        return Moved(told, found.rows)
    if isinstance(counts := sketches.get("counts"), Counts):
        return moved_categories(counts, values, counts.lift(values))
    if isinstance(numbers := sketches.get("numbers"), Numbers):
        return moved_numbers(numbers, values)
    return Moved()


def _strange(scores: np.ndarray) -> np.ndarray:
    """Rows whose score is clearly above the usual one."""
    return np.where(scores > np.quantile(scores, 0.5), scores, 0.0)


def _fields(rows: Sequence[Looked], signal: str) -> dict[str, list[Any]]:
    """What may tell where the strange rows are; not what the signal itself is about."""
    names = Counter(name for row in rows for name in row.metadata)
    fields: dict[str, list[Any]] = {name: [row.metadata.get(name) for row in rows] for name in names}
    fields["label"] = [row.label for row in rows]
    return {name: values for name, values in fields.items() if not signal.endswith((f".{name}", f".{name}s"))}


def of_summary(told: Mapping[str, Mapping[str, Any]], leading: str) -> dict[str, Any]:
    """What a summary says: the signal that is furthest over, and the words, topics and requests that its signals name."""
    found: dict[str, Any] = {"of": leading}
    if "severity" not in told.get(leading, {}):
        return found
    found["severity"] = told[leading]["severity"]
    for key in ("words", "topics", "values", "examples"):
        if (named := next((told[name][key] for name in (leading, *told) if key in told.get(name, {})), None)) is not None:
            found[key] = named
    return found


def remember(known: dict[int, str], texts: Sequence[str]) -> None:
    """Adds the commonest words of a window; the oldest go when there are too many."""
    said = Counter(word for text in texts for word in words(text) if tellable(word))
    for word, count in said.most_common(MOST_KNOWN // 4):
        if count < 2:
            break
        place = bucket(word)
        known.pop(place, None)
        known[place] = word
    while len(known) > MOST_KNOWN:
        del known[next(iter(known))]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
