"""Counters and gauges of an engine, added to from its threads and read as one flat mapping."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping


class Tally:
    """Sums by name. `batch(n)` also keeps a histogram of batch sizes in powers of two."""

    def __init__(self, *names: str) -> None:
        self._sums: Counter[str] = Counter(dict.fromkeys(names, 0))
        self._lock = threading.Lock()

    def add(self, **amounts: float) -> None:
        with self._lock:
            for name, amount in amounts.items():
                self._sums[name] += amount  # type: ignore[assignment]  # Counter is typed for int; seconds are float

    def batch(self, size: int, busy_s: float) -> None:
        bucket = 1 << (size - 1).bit_length()
        self.add(**{"batches": 1, "batch_items": size, "busy_s": busy_s, f"batch_size_le_{bucket}": 1})

    def read(self) -> Mapping[str, float]:
        """All sums, and `batch_size_mean`."""
        with self._lock:
            found = {name: float(value) for name, value in self._sums.items()}
        if found.get("batches"):
            found["batch_size_mean"] = found["batch_items"] / found["batches"]
        return found
