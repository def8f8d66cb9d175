"""ADWIN (Bifet & Gavaldà 2007): a window over a stream that is as long as its mean has stayed the same, cut where it has changed.

The window is an exponential histogram: memory grows with the logarithm of its length. Cuts by the normal bound of the paper's section 4.
A cut is made where it shows best, and all that is older goes. Own code, since `river`'s keeps its state where only a pickle reaches it, and
costs two seconds to import; the first alarm on a stream comes at the same value (benchmarks/detection.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Self

PER_ROW, EVERY, LEAST, GRACE = 5, 32, 5, 10


class Adwin:
    """`delta`: how sure a cut has to be; false alarms are fewer. Row i of the histogram holds buckets of 2 ** i values: (sum, variance)."""

    def __init__(self, delta: float = 0.002) -> None:
        if not 0 < delta < 1:
            raise ValueError(f"delta lies between 0 and 1, not at {delta}")
        self.delta = delta
        self.width, self.total, self.variance = 0, 0.0, 0.0  # variance: sum of squared distances from the mean
        self._since = 0
        self._rows: list[list[tuple[float, float]]] = [[]]  # oldest first in each

    @property
    def mean(self) -> float:
        return self.total / self.width if self.width else 0.0

    def update(self, value: float) -> bool:
        if self.width:
            apart = value - self.mean
            self.variance += apart * apart * self.width / (self.width + 1)
        self.width += 1
        self.total += value
        self._rows[0].append((value, 0.0))
        self._compress()
        self._since += 1
        return self._since % EVERY == 0 and self.width > GRACE and self._shrink()

    def _compress(self) -> None:
        for at, row in enumerate(self._rows):
            if len(row) <= PER_ROW:
                return
            (one, one_var), (other, other_var) = row[0], row[1]
            del row[:2]
            size = 2**at
            apart = one / size - other / size
            if at + 1 == len(self._rows):
                self._rows.append([])
            self._rows[at + 1].append((one + other, one_var + other_var + apart * apart * size / 2))

    def _oldest_first(self) -> Iterator[tuple[int, float, float]]:
        for at in range(len(self._rows) - 1, -1, -1):
            for total, variance in self._rows[at]:
                yield 2**at, total, variance

    def _shrink(self) -> bool:
        changed = False
        while older := self._cut():
            changed = True
            while older > 0:
                older -= self._drop()
        return changed

    def _cut(self) -> int:
        """How many of the oldest values have another mean than the rest, by the split that shows it best; 0 for none."""
        if self.width < 2 * LEAST:
            return 0
        sure = math.log(2 * math.log(self.width) / self.delta)
        spread = max(self.variance / self.width, 0.0)
        older, older_total, best, found = 0, 0.0, 1.0, 0
        for size, total, _ in self._oldest_first():
            older += size
            older_total += total
            newer = self.width - older
            if newer < LEAST:
                break
            if older < LEAST:
                continue
            both = 1 / (older - LEAST + 1) + 1 / (newer - LEAST + 1)
            apart = abs(older_total / older - (self.total - older_total) / newer)
            over = apart / (math.sqrt(2 * both * spread * sure) + 2 / 3 * both * sure)
            if over > best:
                best, found = over, older
        return found

    def _drop(self) -> int:
        """Gives up the oldest bucket; how many values that were."""
        while not self._rows[-1]:
            self._rows.pop()
        size: int = 2 ** (len(self._rows) - 1)
        total, variance = self._rows[-1].pop(0)
        self.width -= size
        self.total -= total
        apart = total / size - self.mean
        self.variance -= variance + apart * apart * size * self.width / (size + self.width)
        while len(self._rows) > 1 and not self._rows[-1]:
            self._rows.pop()
        return size

    def as_json(self) -> dict[str, Any]:
        rows = [[list(bucket) for bucket in row] for row in self._rows]
        return {
            "delta": self.delta,
            "width": self.width,
            "total": self.total,
            "variance": self.variance,
            "since": self._since,
            "rows": rows,
        }

    @classmethod
    def parse(cls, value: Any) -> Self:
        try:
            made = cls(float(value["delta"]))
            made.width, made.total, made.variance = int(value["width"]), float(value["total"]), float(value["variance"])
            made._since = int(value["since"])
            made._rows = [[(float(total), float(variance)) for total, variance in row] for row in value["rows"]] or [[]]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this is no state of ADWIN ({error})") from error
        if len(made._rows) > 64 or made.width != sum(2**at * len(row) for at, row in enumerate(made._rows)):
            raise ValueError("the buckets of this state of ADWIN do not add up to its width")
        return made
