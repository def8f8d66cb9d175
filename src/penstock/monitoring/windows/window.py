"""What is kept of the requests of one cell over one window: numbers that add up, sketches, labels. Windows merge, in any order.

A cell is a part of a deployment's requests: a version on a replica, or a version and a slice such as `channel=web`. What clients were
answered (`live`) is kept apart from copies for a shadow and from answers in another model's place. A window counts the requests that were
over within [start, start + length), and the feedback that was given in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.monitoring.windows.sketch import Sketch

Kind = Literal["live", "shadow", "fallback"]
KINDS: tuple[Kind, ...] = ("live", "shadow", "fallback")
OTHER = "…other"  # where slices and labels beyond a bound are counted together

# Of requests by what became of them; then sums; then feedback. `withdrawn_…` is feedback of earlier windows that was replaced in this one:
# within a window feedback counts as given, over several windows what was replaced is taken off again.
NUMBERS = (
    "requests",
    "ok",  # status below 400
    "refused",  # 4xx
    "gone",  # 499
    "failed",  # 5xx
    "blocked",  # by a guardrail
    "retried",  # more than one attempt
    "sent",  # to a replica
    "prompt_tokens",
    "completion_tokens",
    "bytes_in",
    "bytes_out",
    "cost_usd",
    "energy_wh",
    "sure",  # answers with a confidence
    "confidence",  # sum of it
    "rated",
    "scored",
    "score",  # sum of scores, 0 to 1 each
    "labelled",  # rated by a true label, where the answer had one
    "right",
    "withdrawn_rated",
    "withdrawn_scored",
    "withdrawn_score",
    "withdrawn_labelled",
    "withdrawn_right",
)
PLACE: Mapping[str, int] = {name: place for place, name in enumerate(NUMBERS)}
SKETCHES = ("total_ms", "first_ms", "queue_ms", "tokens_per_s")
BINS = 50  # of the histogram of confidences, 0 to 1
MOST_LABELS = 512


class Cell(NamedTuple):
    """`version` and `replica` are empty where a request came to none; a cell of a slice has no replica."""

    kind: Kind
    version: str = ""
    replica: str = ""
    slice: str = ""


@dataclass(slots=True, eq=False)
class Window:
    """`sketches`: one for each of SKETCHES; `confidences`: BINS counts."""

    numbers: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(NUMBERS)))
    sketches: tuple[Sketch, ...] = field(default_factory=lambda: tuple(Sketch() for _ in SKETCHES))
    labels: dict[str, int] = field(default_factory=dict)
    confidences: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def __getitem__(self, name: str) -> float:
        """One of NUMBERS."""
        return float(self.numbers[PLACE[name]])

    def sketch(self, name: str) -> Sketch:
        return self.sketches[SKETCHES.index(name)]

    def merge(self, other: Window) -> None:
        self.numbers += other.numbers
        for mine, theirs in zip(self.sketches, other.sketches, strict=True):
            mine.merge(theirs)
        for label, count in other.labels.items():
            self.label(label, count)
        self.confidences += other.confidences

    def label(self, name: str, count: int) -> None:
        """Counts answers with this label, under OTHER where there are MOST_LABELS already."""
        if name not in self.labels and len(self.labels) >= MOST_LABELS:
            name = OTHER
        self.labels[name] = self.labels.get(name, 0) + count

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Window):
            return NotImplemented
        same = bool(np.array_equal(self.numbers, other.numbers) and np.array_equal(self.confidences, other.confidences))
        return same and self.sketches == other.sketches and self.labels == other.labels

    __hash__ = None  # type: ignore[assignment]  # mutable


Cells = dict[Cell, Window]


def merged(windows: Iterable[Window]) -> Window:
    """A new one with all of them."""
    found = Window()
    for window in windows:
        found.merge(window)
    return found


def merge_cells(into: Cells, more: Mapping[Cell, Window]) -> None:
    for cell, window in more.items():
        into.setdefault(cell, Window()).merge(window)


def whole(cells: Mapping[Cell, Window], kind: Kind = "live", version: str | None = None) -> Window:
    """All requests of a kind, or those of one version."""
    return merged(w for c, w in cells.items() if c.kind == kind and not c.slice and version in (None, c.version))


def by_version(cells: Mapping[Cell, Window], kind: Kind = "live") -> dict[str, Window]:
    """Of requests that came to a version."""
    names = dict.fromkeys(cell.version for cell in cells if cell.kind == kind and cell.version and not cell.slice)
    return {name: whole(cells, kind, name) for name in names}


def by_slice(cells: Mapping[Cell, Window]) -> dict[str, Window]:
    """Of what clients were answered, over all versions."""
    found: dict[str, Window] = {}
    for cell, window in cells.items():
        if cell.kind == "live" and cell.slice:
            found.setdefault(cell.slice, Window()).merge(window)
    return found
