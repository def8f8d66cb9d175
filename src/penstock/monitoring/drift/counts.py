"""Categories with their counts, at most MOST of them; the others count together.

Which are kept goes by a hash of the name, not by the count: so sketches merge in any order to the same. A field with more values than
that (ids of users, say) has no mix that could drift.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from zlib import crc32

import numpy as np

from penstock.core.errors import ArtifactCorrupt
from penstock.monitoring.drift.encoded import Packed, checked_counts, pack

MOST, LONGEST = 2048, 128  # categories; characters of a name
NONE = "(none)"


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    counts: Mapping[str, float] = field(default_factory=dict)
    others: float = 0.0
    kind: ClassVar[str] = "counts"

    @property
    def rows(self) -> float:
        return sum(self.counts.values()) + self.others

    @classmethod
    def fit(cls, values: Any) -> tuple[Self, Any]:
        lifted = names(values)
        return cls().of(lifted), lifted

    def lift(self, values: Any) -> np.ndarray:
        return names(values)

    def of(self, lifted: np.ndarray) -> Self:
        return type(self)(*_bounded(Counter(lifted.tolist()), 0.0))

    def merge(self, other: Self) -> Self:
        together = Counter(self.counts)
        together.update(other.counts)
        return type(self)(*_bounded(together, self.others + other.others))

    def less(self, other: Self) -> Self:
        left = {name: count - other.counts.get(name, 0.0) for name, count in self.counts.items()}
        gone = other.others + sum(count for name, count in other.counts.items() if name not in self.counts)
        return type(self)({name: count for name, count in left.items() if count > 0}, max(self.others - gone, 0.0))

    def stained(self, strange: int, rows: int) -> Self:
        """`rows` rows spread as these, `strange` of which are of a category that is not among them."""
        scale = max(rows - strange, 0) / max(self.rows, 1.0)
        new = next(name for name in ("(new)", "(newer)", "(newest)") if name not in self.counts)
        return type(self)({**{name: count * scale for name, count in self.counts.items()}, new: float(strange)}, self.others * scale)

    def encode(self) -> bytes:
        listed = sorted(self.counts)
        return pack(self.kind, {"names": listed, "others": self.others}, {"counts": np.array([self.counts[n] for n in listed], float)})

    @classmethod
    def decode(cls, packed: Packed) -> Self:
        listed, counts = packed.fields.get("names"), checked_counts(packed.array("counts", "<f8"), cls.kind)
        if not isinstance(listed, list) or not all(isinstance(n, str) and len(n) <= LONGEST for n in listed):
            raise ArtifactCorrupt("the names of a counts sketch are not a list of short strings")
        if len(listed) != len(counts) or len(listed) > MOST or len(set(listed)) != len(listed):
            raise ArtifactCorrupt("a counts sketch has not as many names as counts, too many, or one twice")
        return cls(dict(zip(listed, counts.tolist(), strict=True)), packed.number("others"))


def names(values: Any) -> np.ndarray:
    """(rows,) strings; what is None is a category of its own."""
    given = values.tolist() if isinstance(values, np.ndarray) else list(values)
    named = {value: NONE if value is None else str(value)[:LONGEST] for value in set(given)}
    return np.array([named[value] for value in given], object)


def _bounded(counts: Mapping[str, float], others: float) -> tuple[dict[str, float], float]:
    if len(counts) > MOST:
        ranked = sorted(counts, key=lambda name: (crc32(name.encode(errors="replace")), name))
        others += sum(counts[name] for name in ranked[MOST:])
        counts = {name: counts[name] for name in ranked[:MOST]}
    return {name: float(count) for name, count in counts.items()}, others
