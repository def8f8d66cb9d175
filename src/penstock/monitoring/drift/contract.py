"""A sketch stands for many rows; a detector says how far two sketches lie apart. Calibration (calibrate.py) knows no more than this.

Not covered: where rows come from, and features of texts (stages/reference).
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, Self, TypeVar

SketchT = TypeVar("SketchT", contravariant=True)


class Sketch(Protocol):
    """What is kept of rows instead of the rows: bounded in size, mergeable, versioned bytes (encoded.py). Never changed once made."""

    kind: ClassVar[str]

    @property
    def rows(self) -> float: ...

    @classmethod
    def fit(cls, values: Any) -> tuple[Self, Any]:
        """A reference of these values, and the same rows lifted (a row of a reference is never compared with itself)."""
        ...

    def lift(self, values: Any) -> Any:
        """What is added up of each row: an array over rows, to be indexed by arrays of positions."""
        ...

    def of(self, lifted: Any) -> Self:
        """Lifted rows as a sketch that can be compared and merged with this one."""
        ...

    def merge(self, other: Self) -> Self:
        """As if all rows had been one. Raises ValueError for a sketch that was not laid out alike."""
        ...

    def less(self, other: Self) -> Self:
        """Without rows that are part of it."""
        ...

    def encode(self) -> bytes: ...


class Detector(Protocol[SketchT]):
    """`kinds` of sketches it compares. Of clean windows the distance shrinks as (1/n + 1/N) ** (`order` / 2); 0: does not scale."""

    kinds: ClassVar[tuple[str, ...]]
    order: ClassVar[int]

    def distance(self, reference: SketchT, current: SketchT) -> float:
        """Finite, 0 where both are alike, never below. Neither is empty."""
        ...


class Streaming(Protocol):
    """Told one value after another; its state is JSON values, so that a restart loses nothing."""

    def update(self, value: float) -> bool:
        """Whether a change is found now."""
        ...

    def as_json(self) -> dict[str, Any]: ...

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Raises ValueError."""
        ...
