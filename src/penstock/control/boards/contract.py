"""A board: rows of panels of measures, said without the words of any one monitoring system. Rows: deployment.py, signals.py.

A writer (table.py) turns it into a file. Every board is of one deployment, which whoever looks at it chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from penstock.control.measures.contract import Measure

Unit = Literal["requests/s", "tokens/s", "share", "seconds", "milliseconds", "USD", "watts", "cores", "bytes", "number"]
Look = Literal["lines", "stacked", "figure"]


@dataclass(frozen=True, slots=True)
class Series:
    """`named`: what its lines are called; `{label}` stands for a label's value."""

    measure: Measure
    named: str


@dataclass(frozen=True, slots=True)
class Panel:
    """`about`: how to read it, in a sentence. `limit`: a line that should not be passed."""

    title: str
    about: str
    unit: Unit
    series: Sequence[Series]
    look: Look = "lines"
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Board:
    """`name`: of its file, and how the monitoring system knows it again."""

    name: str
    title: str
    about: str
    rows: Sequence[Row]


class Writer(Protocol):
    """`ending`: of the files that it makes, without the dot."""

    ending: str

    def write(self, board: Board) -> str:
        """The text of the file; equal boards give equal texts."""
        ...
