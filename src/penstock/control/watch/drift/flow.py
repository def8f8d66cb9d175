"""Windows of so many requests, one after the other, over the rows of one version; several sizes at once over the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from penstock.monitoring.drift.standard import Asked, Reference, Stream
from penstock.stages.reference.features import Looked, has

BASELINE = 4  # windows that a reference is learnt from, where none is stored


@dataclass(slots=True)
class Flow:
    """`asked`: what is compared; `reference` None while it is learnt from the first rows. `rows`: those of windows that are not full.

    `start`: how many rows came before the first of `rows`. `skipped`: requests that lacked what is compared, since the last window.
    """

    stream: Stream
    asked: tuple[Asked, ...]
    reference: Reference | None
    learns: bool = False
    start: int = 0
    rows: list[Looked] = field(default_factory=list)
    skipped: int = 0

    def takes(self, row: Looked) -> bool:
        """Whether the row has all that is compared here; one that has not is counted."""
        if all(has(one.signal, row) for one in self.asked):
            return True
        self.skipped += 1
        return False

    def add(self, row: Looked) -> Iterator[tuple[int, Sequence[Looked]]]:
        """(size, rows) of each window that is full with this row."""
        self.rows.append(row)
        if self.reference is None:
            return
        count = self.start + len(self.rows)
        sizes = sorted({one.window for one in self.asked})
        for size in sizes:
            if count % size == 0:
                yield size, self.rows[-size:]
        keep = count - min(count // size * size for size in sizes)
        if len(self.rows) > keep:
            self.start += len(self.rows) - keep
            del self.rows[: len(self.rows) - keep]

    @property
    def learnt(self) -> Sequence[Looked] | None:
        """The rows to learn from, once there are enough."""
        wanted = BASELINE * max((one.window for one in self.asked), default=1)
        return self.rows if self.reference is None and self.asked and len(self.rows) >= wanted else None

    def settle(self, reference: Reference) -> None:
        """It is learnt: windows begin."""
        self.reference, self.rows, self.start = reference, [], 0
