"""Rows of records as columns: what folding adds up, computed once for a batch. A row that is no record of ours is left out and counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from penstock.monitoring.windows.naming import Row, texts
from penstock.monitoring.windows.sketch import buckets
from penstock.monitoring.windows.window import BINS, NUMBERS, PLACE, SKETCHES

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MOST_NUMBER = 1e12
NOWHERE = -1  # in a column of places: this row has none
_AMOUNTS = (
    "at",
    "status",
    "attempts",
    "total_ms",
    "first_ms",
    "queue_ms",
    "prompt_tokens",
    "completion_tokens",
    "bytes_in",
    "bytes_out",
    "cost_usd",
    "energy_wh",
)
_SUMS = _AMOUNTS[6:]
_take = itemgetter(*_AMOUNTS)


@dataclass(frozen=True, slots=True)
class Columns:
    """Of n rows. `numbers`: (n, len(NUMBERS)); `places`: the bucket in each of SKETCHES, (len(SKETCHES), n), NOWHERE where a row has none.

    `label_of` and `bin_of`: a place in `labels` and one of BINS, or NOWHERE. `unread`: rows that were left out.
    """

    rows: Sequence[Row]
    at: Floats
    numbers: Floats
    places: Ints
    labels: Sequence[str]
    label_of: Ints
    bin_of: Ints
    unread: int = 0


def columns(rows: Sequence[Row]) -> Columns:
    """Rows carry `at`, the instant at which they count (seconds since the epoch), beside the fields of a record."""
    good, amounts, confidences = rows, _amounts(rows), _confidences(rows)
    if amounts is None or confidences is None:
        good = [row for row in rows if readable(row)]
        amounts, confidences = _amounts(good), _confidences(good)
        assert amounts is not None
        assert confidences is not None
    numbers = _numbers(good, amounts, confidences)
    labels = texts([row.get("label") for row in good])
    known = {name: place for place, name in enumerate(name for name in dict.fromkeys(labels) if name is not None)}
    label_of = [NOWHERE if name is None else known[name] for name in labels]
    bins = np.where(np.isnan(confidences), NOWHERE, np.minimum(np.nan_to_num(confidences) * BINS, BINS - 1)).astype(np.int64)
    return Columns(good, amounts[:, 0], numbers, _places(amounts), list(known), np.array(label_of, np.int64), bins, len(rows) - len(good))


def readable(row: Row) -> bool:
    """Whether a row has all that is folded, each within what can be true."""
    try:
        values = _take(row)
    except (KeyError, TypeError):
        return False
    confidence = row.get("confidence")
    numbers = all(type(v) in (int, float) and math.isfinite(v) and 0 <= v <= MOST_NUMBER for v in values)
    return numbers and (confidence is None or (type(confidence) in (int, float) and 0 <= confidence <= 1))


def _amounts(rows: Sequence[Row]) -> Floats | None:
    """(n, len(_AMOUNTS)); None when a row lacks one, or holds what is no number."""
    if not rows:
        return np.zeros((0, len(_AMOUNTS)))
    try:
        found = np.array([_take(row) for row in rows])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if found.dtype.kind not in "fi" or found.ndim != 2:
        return None
    found = found.astype(np.float64)
    return found if bool((found >= 0).all() and (found <= MOST_NUMBER).all()) else None  # nan fails both


def _confidences(rows: Sequence[Row]) -> Floats | None:
    """nan where a row has none; None when one is no share."""
    try:
        found = np.array([math.nan if (v := row.get("confidence")) is None else v for row in rows] or np.zeros(0))
    except (TypeError, ValueError, OverflowError):
        return None
    if found.dtype.kind not in "fi" or found.ndim != 1:
        return None
    found = found.astype(np.float64)
    return found if bool((np.isnan(found) | ((found >= 0) & (found <= 1))).all()) else None


def _numbers(rows: Sequence[Row], amounts: Floats, confidences: Floats) -> Floats:
    found = np.zeros((len(rows), len(NUMBERS)))
    status = amounts[:, 1]
    found[:, PLACE["requests"]] = 1
    found[:, PLACE["ok"]] = status < 400
    found[:, PLACE["refused"]] = (status >= 400) & (status < 500) & (status != 499)
    found[:, PLACE["gone"]] = status == 499
    found[:, PLACE["failed"]] = status >= 500
    found[:, PLACE["blocked"]] = [_blocked(row) for row in rows]
    found[:, PLACE["retried"]] = amounts[:, 2] > 1
    found[:, PLACE["sent"]] = amounts[:, 2] > 0
    for place, name in enumerate(_SUMS, len(_AMOUNTS) - len(_SUMS)):
        found[:, PLACE[name]] = amounts[:, place]
    sure = ~np.isnan(confidences)
    found[:, PLACE["sure"]] = sure
    found[:, PLACE["confidence"]] = np.where(sure, confidences, 0.0)
    return found


def _blocked(row: Row) -> bool:
    flags = row.get("flags")
    if not flags:
        return False
    return row.get("error") == "content_blocked" or any(isinstance(flag, str) and ":block:" in flag for flag in flags)


def _places(amounts: Floats) -> Ints:
    """Times are those of requests answered well, where anybody knows them (not 0); waiting is that of whatever was sent to a replica."""
    status, attempts, total, first, queue, written = (amounts[:, place] for place in (1, 2, 3, 4, 5, 7))
    well = (status >= 200) & (status < 300)
    writing = total - first
    wrote = well & (written > 0) & (writing > 0)
    speed = np.divide(written * 1000, writing, out=np.zeros_like(written), where=wrote)
    found = np.empty((len(SKETCHES), len(amounts)), np.int64)
    for place, (values, counted) in enumerate(
        ((total, well & (total > 0)), (first, well & (first > 0)), (queue, attempts > 0), (speed, wrote))
    ):
        found[place] = np.where(counted, buckets(values), NOWHERE)
    return found
