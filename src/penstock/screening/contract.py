"""A check: given a text, what was found where. Kept apart from what is then done about it (serving/guardrails.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

HOLD = 256  # characters of a stream that an opening may keep back
REACH = 96  # characters before a finding that may decide about it (context words, word borders)


@dataclass(frozen=True, slots=True)
class Finding:
    """`start` and `end` are characters of the text that was given; `score` is 0–1, and 1 where a pattern or checksum decided."""

    check: str
    kind: str
    start: int
    end: int
    score: float = 1.0


class Check(Protocol):
    """One thing to look for. Findings come in order and do not overlap; time grows linearly with the text, whatever is in it."""

    name: str
    whole: ClassVar[bool]  # a property of the text as a whole, which cannot be masked
    reach: ClassVar[int]  # characters before a place that `find` needs to judge it

    def find(self, text: str) -> list[Finding]:
        """All findings. No error, whatever the text."""
        ...

    def opening(self, text: str) -> int:
        """Index from which more text could still make or change a finding; `len(text)` when nothing is open.

        What a stream may release is what lies before it. Never further than HOLD from the end.
        """
        ...


def last_word(text: str) -> int:
    """Where the last word begins while it may still grow, at most HOLD characters back; `len(text)` after a space."""
    tail = text[-HOLD:]
    return len(text) if not tail or tail[-1].isspace() else len(text) - len(tail.split()[-1])
