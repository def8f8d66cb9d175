"""What came of each request, kept as columns of numbers: 50 bytes a request, so that a test of millions fits in memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

MOST_GAPS = 2_000_000  # inter-token times kept; beyond, every further one replaces an older at random places
_NONE = float("nan")


@dataclass(slots=True)
class Tally:
    """Times are seconds from the start of the test; `first` is when the first token came (nan: the answer was not streamed).

    `outcome`: an HTTP status, or 0 when no whole answer came; `errors` says what each failure was.
    """

    due: array[float] = field(default_factory=lambda: array("d"))
    sent: array[float] = field(default_factory=lambda: array("d"))
    first: array[float] = field(default_factory=lambda: array("d"))
    ended: array[float] = field(default_factory=lambda: array("d"))
    good: array[int] = field(default_factory=lambda: array("b"))
    tokens: array[int] = field(default_factory=lambda: array("l"))
    gaps: array[float] = field(default_factory=lambda: array("d"))
    late: array[float] = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)
    prompt_tokens: int = 0
    all_gaps: int = 0
    _order: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.due)

    def add(self, due: float, sent: float, first: float | None, ended: float, good: bool, tokens: int) -> None:
        self.due.append(due)
        self.sent.append(sent)
        self.first.append(_NONE if first is None else first)
        self.ended.append(ended)
        self.good.append(good)
        self.tokens.append(tokens)

    def failed(self, kind: str, message: str) -> None:
        """Counts a failure by its kind; the first message of each kind is kept."""
        self.errors[kind] += 1
        self.messages.setdefault(kind, message[:300])

    def gap(self, seconds: float) -> None:
        self.all_gaps += 1
        if len(self.gaps) < MOST_GAPS:
            self.gaps.append(seconds)
        else:
            self.gaps[(self.all_gaps * 2654435761) % MOST_GAPS] = seconds  # Knuth's multiplicative hash spreads the places

    def slice(self, start: float, end: float) -> list[int]:
        """Rows of the requests that were due within [start, end) seconds, in that order."""
        if len(self._order) != len(self.due):
            self._order = sorted(range(len(self.due)), key=self.due.__getitem__)
        low = bisect_left(self._order, start, key=self.due.__getitem__)
        return self._order[low : bisect_left(self._order, end, key=self.due.__getitem__)]

    def latency(self, row: int) -> float:
        """Seconds from when the request was due to its last byte: what a client that came then has waited (Tene 2013)."""
        return self.ended[row] - self.due[row]
