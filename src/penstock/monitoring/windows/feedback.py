"""Feedback as the numbers of a window: each request counts once, as it was rated last; what an earlier window had counted is withdrawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.monitoring.windows.window import PLACE, Cell, Cells, Window

_PARTS = ("rated", "scored", "score", "labelled", "right")


@dataclass(frozen=True, slots=True)
class Rating:
    """What stands of a request: `score` 0 to 1 or None; `right`: whether its label was the true one, None where that is not known."""

    score: float | None = None
    right: bool | None = None
    rated: bool = False

    @property
    def numbers(self) -> tuple[float, ...]:
        """By _PARTS."""
        scored, labelled = self.score is not None, self.right is not None
        return (float(self.rated), float(scored), self.score or 0.0, float(labelled), float(bool(self.right)))


@dataclass(slots=True)
class Ratings:
    """The requests that were rated in the window that is open: what each counts for.

    A gateway takes so much feedback an hour and no more.
    """

    here: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def fold(self, cells: Cells, request: str, places: Iterable[Cell], before: Rating, now: Rating) -> None:
        """`request`: names it; `before`: what stood until now."""
        earlier, fresh = self.here.get(request), now.numbers
        for place in places:
            window = cells.setdefault(place, Window())
            if earlier is None:
                _add(window, "withdrawn_", before.numbers)
                _add(window, "", fresh)
            else:
                _add(window, "", tuple(new - old for new, old in zip(fresh, earlier, strict=True)))
        self.here[request] = fresh

    def as_json(self) -> Mapping[str, Any]:
        return self.here

    @staticmethod
    def parse(value: Any) -> Ratings:
        """Raises ValueError, TypeError."""
        return Ratings({str(request): tuple(float(part) for part in parts) for request, parts in dict(value).items()})


def _add(window: Window, prefix: str, numbers: tuple[float, ...]) -> None:
    for name, number in zip(_PARTS, numbers, strict=True):
        window.numbers[PLACE[prefix + name]] += number
