"""Columns of records added to the cells of one window, a batch at a time; the number of slices is bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.monitoring.windows.columns import NOWHERE, Columns, Ints
from penstock.monitoring.windows.naming import Row, base_of, bases, slice_values
from penstock.monitoring.windows.window import OTHER, Cell, Cells, Window

MOST_SLICES = 50  # of one name
FORGET_S = 3600.0  # a slice that was not seen for so long makes room for another


@dataclass(frozen=True, slots=True)
class Placed:
    """Columns with the cells that their rows belong to: row `row_of[i]` to the cell at `cell_of[i]`; by ascending row."""

    columns: Columns
    cells: Sequence[Cell]
    cell_of: Ints
    row_of: Ints


class Slices:
    """The slices that are told apart: of each name the first MOST_SLICES that came, as long as they come. What is left goes to OTHER."""

    def __init__(self, names: Sequence[str], most: int = MOST_SLICES) -> None:
        self.names, self._most = tuple(names), most
        self._seen: dict[str, dict[str, float]] = {name: {} for name in self.names}  # by value: when last

    def place(self, columns: Columns) -> Placed:
        """Which cells each row belongs to: that of its version and replica, and one for each slice."""
        of_rows = bases(columns.rows)
        distinct = list(dict.fromkeys(of_rows))
        known = {base: place for place, base in enumerate(distinct)}
        cells = {Cell(*base): place for base, place in known.items()}
        everywhere = np.arange(len(of_rows), dtype=np.int64)
        codes, rows = [np.array([known[base] for base in of_rows], np.int64)], [everywhere]
        for name in self.names:
            values = slice_values(name, columns.rows)
            told = self._told(name, values, columns)
            pairs = list(zip(codes[0].tolist(), values, strict=True))
            of_pairs = {}
            for base, value in dict.fromkeys(pairs):
                kind, version, _ = distinct[base]
                cell = None if value is None else Cell(kind, version, "", told[value])
                of_pairs[base, value] = NOWHERE if cell is None else cells.setdefault(cell, len(cells))
            code = np.array([of_pairs[pair] for pair in pairs], np.int64)
            codes.append(code[code != NOWHERE])
            rows.append(everywhere[code != NOWHERE])
        row_of = np.concatenate(rows)
        order = np.argsort(row_of, kind="stable")
        return Placed(columns, list(cells), np.concatenate(codes)[order], row_of[order])

    def of(self, row: Row) -> list[Cell]:
        """The cells of one row, such as that which feedback is about; no slice becomes known by it."""
        kind, version, replica = base_of(row)
        found = [Cell(kind, version, replica)]
        for name in self.names:
            (value,) = slice_values(name, (row,))
            if value is not None:
                found.append(Cell(kind, version, "", f"{name}={value if value in self._seen[name] else OTHER}"))
        return found

    def _told(self, name: str, values: Sequence[str | None], columns: Columns) -> dict[str, str]:
        """The slice that each value goes to."""
        seen, latest = self._seen[name], float(columns.at[-1]) if columns.at.size else 0.0
        fresh = [value for value in dict.fromkeys(values) if value is not None]
        if any(value not in seen for value in fresh):
            for value in [value for value, at in seen.items() if at < latest - FORGET_S]:
                del seen[value]
        for value in fresh:
            if value in seen or len(seen) < self._most:
                seen[value] = latest
        return {value: f"{name}={value if value in seen else OTHER}" for value in fresh}

    def as_json(self) -> dict[str, dict[str, float]]:
        return self._seen

    def restore(self, value: Any) -> None:
        """Raises ValueError. Slices that are not asked for any more are let go."""
        for name in self.names:
            found = value.get(name, {}) if isinstance(value, dict) else None
            if not isinstance(found, dict) or not all(isinstance(at, (int, float)) for at in found.values()):
                raise ValueError("slices are times by value")
            self._seen[name] = {str(text): float(at) for text, at in list(found.items())[: self._most]}


def fold(cells: Cells, placed: Placed, first: int, last: int) -> None:
    """Adds rows `first` up to, without, `last` to the cells of a window."""
    low, high = np.searchsorted(placed.row_of, (first, last))
    code, rows = placed.cell_of[low:high], placed.row_of[low:high]
    if not code.size:
        return
    order = np.argsort(code, kind="stable")
    code, rows = code[order], rows[order]
    starts = np.flatnonzero(np.diff(code, prepend=NOWHERE))
    columns = placed.columns
    numbers = np.add.reduceat(columns.numbers[rows], starts, axis=0)
    places, labels, bins = columns.places[:, rows], columns.label_of[rows], columns.bin_of[rows]
    for index, (start, end) in enumerate(zip(starts, [*starts[1:], code.size], strict=True)):
        window = cells.setdefault(placed.cells[int(code[start])], Window())
        window.numbers += numbers[index]
        for sketch, found in zip(window.sketches, places[:, start:end], strict=True):
            sketch.add_buckets(found[found >= 0])
        _add_answers(window, columns, labels[start:end], bins[start:end])


def _add_answers(window: Window, columns: Columns, labels: Ints, bins: Ints) -> None:
    if columns.labels:
        counts = np.bincount(labels[labels >= 0], minlength=len(columns.labels))
        for place in np.flatnonzero(counts).tolist():
            window.label(columns.labels[place], int(counts[place]))
    bins = bins[bins >= 0]
    if bins.size:
        window.confidences += np.bincount(bins, minlength=window.confidences.size)
