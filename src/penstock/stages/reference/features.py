"""What drift detectors compare, from what is known of requests: one column a signal, as the sketches' `fit` takes them.

The same for rows of the dataset (stage.py) and for recorded requests (control/watch/drift); that is all that makes them comparable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penstock.monitoring.drift.rise import RIGHT, WRONG

CUT = 2048  # characters of a text whose words, language and meaning are looked at
MOST_CHARS = 16_384  # what a record keeps of a text (serving/capture.py)
CONFIDENCE_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Looked:
    """One request, or one row of the reference. `chars`, `chars_out`: lengths of the whole texts; `vector`: of `text`, where wanted.

    `truth`: the right label, where somebody said it; `wrong`: whether the answer was wrong, where that is known.
    """

    id: str
    text: str | None = None
    chars: int | None = None
    chars_out: int | None = None
    label: str | None = None
    confidence: float | None = None
    truth: str | None = None
    wrong: bool | None = None
    vector: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    ended: float = 0.0
    seen: int = 0


def has(signal: str, row: Looked) -> bool:
    """Whether the row has what `signal` compares. A field of metadata that is absent counts as a value."""
    return signal.startswith("drift.metadata.") or _value(signal, row) is not None


def column(signal: str, rows: Sequence[Looked], numeric: bool = False) -> Any:
    """Of rows that have it. `numeric`: a field of metadata that holds numbers."""
    if signal == "drift.embedding":
        return np.stack([row.vector for row in rows])
    if signal == "drift.language":
        from penstock.screening.language import languages

        return languages([row.text or "" for row in rows])
    found = [_value(signal, row) for row in rows]
    if numeric or signal in _NUMBERS:
        return np.array([_number(value) for value in found], float)
    return found


_NUMBERS = ("drift.length", "drift.output.length", "drift.output.confidence")


def _value(signal: str, row: Looked) -> Any:
    if signal.startswith("drift.metadata."):
        return row.metadata.get(signal.removeprefix("drift.metadata."))
    if signal in ("drift.words", "drift.language"):
        return row.text
    if signal == "drift.embedding":
        return row.vector
    if signal == "drift.length":
        return row.chars
    if signal == "drift.output.length":
        return row.chars_out
    if signal == "drift.output.labels":
        return row.label
    if signal == "drift.output.confidence":
        return None if row.confidence is None else round(row.confidence, CONFIDENCE_DIGITS)
    if signal == "drift.feedback.labels":
        return row.truth
    return None if row.wrong is None else WRONG if row.wrong else RIGHT


def is_numeric(values: Sequence[Any]) -> bool:
    """Whether a field of metadata is to be compared as numbers: nearly all are, and they are more than a handful of different ones."""
    there = [value for value in values if value is not None]
    numbers = [value for value in there if isinstance(value, (int, float)) and not isinstance(value, bool)]
    return bool(there) and len(numbers) >= 0.95 * len(there) and len(set(numbers)) > 12


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else float("nan")
