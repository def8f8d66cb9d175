"""Personal data told by form: `find` and `mask`. One file a kind; the table lists them.

Not covered: names of people, places and organisations, and whatever only its meaning gives away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from penstock.screening.contract import HOLD, REACH, Finding, last_word
from penstock.screening.folding import plain
from penstock.screening.masking import masked
from penstock.screening.personal.contract import Kind, traits
from penstock.screening.personal.table import kinds

CHECK = "personal_data"
_SPACE = re.compile(r"\s")
_DIGIT = re.compile(r"[0-9]")
_OPEN = 160  # characters from the end of a stream in which a finding may have begun
_SLICE = 8192  # characters examined in one go, so that no single call of `re` holds a thread for long


class PersonalData:
    """The check `personal_data`. `types` as in `find`."""

    name = CHECK
    whole: ClassVar[bool] = False
    reach: ClassVar[int] = REACH

    def __init__(self, types: Iterable[str] = ()) -> None:
        self.kinds = kinds(tuple(types))
        self._wordings = tuple(pattern for kind in self.kinds for pattern in kind.wordings)
        self._openings = self._wordings + tuple(pattern for kind in self.kinds for pattern in kind.openings)

    def find(self, text: str) -> list[Finding]:
        return _find(text, self.kinds)

    def opening(self, text: str) -> int:
        tail = text[-_OPEN:]
        first = last_word(tail)
        for pattern in self._openings if _DIGIT.search(tail) is not None else self._wordings:
            found = pattern.search(tail)
            if found is not None and found.start() < first:
                first = found.start()
        while first and not tail[first - 1].isspace():
            first -= 1
        return len(text) - len(tail) + first


def find(text: str, types: Iterable[str] = ()) -> list[Finding]:
    """Personal data in `text`, in order, not overlapping. `types`: names of kinds; none: all. Raises BadInput for unknown kinds."""
    return _find(text, kinds(tuple(types)))


def mask(text: str, types: Iterable[str] = ()) -> str:
    """`text` with every finding replaced by its kind in brackets, such as `[EMAIL]`. Masking a masked text changes nothing."""
    return masked(text, _find(text, kinds(tuple(types))))


def _find(text: str, wanted: tuple[Kind, ...]) -> list[Finding]:
    flat = plain(text)
    found = _in_slices(flat.text, wanted) if len(flat.text) > _SLICE else _spans(flat.text, wanted)
    if flat.text != text:
        places = flat.spans([(start, end) for start, end, _ in found])
        return [Finding(CHECK, kind, start, end) for (start, end), (_, _, kind) in zip(places, found, strict=True)]
    return [Finding(CHECK, kind, start, end) for start, end, kind in found]


def _spans(text: str, wanted: tuple[Kind, ...]) -> list[tuple[int, int, str]]:
    seen = traits(text)
    if not seen:
        return []
    found: list[tuple[int, int, str]] = []
    taken: bytearray | None = None
    for kind in wanted:
        if kind.needs & seen != kind.needs:
            continue
        for start, end in kind.find(text):
            if taken is None:
                taken = bytearray(len(text))
            if taken.find(1, start, end) < 0:
                taken[start:end] = b"\1" * (end - start)
                found.append((start, end, kind.name))
    if len(found) > 1:
        found.sort()
    return found


def _in_slices(text: str, wanted: tuple[Kind, ...]) -> list[tuple[int, int, str]]:
    """As `_spans`, in slices that overlap; a finding belongs to the slice in whose first part it begins.

    One that reaches the end of its slice is taken to go on to the next space.
    """
    found: list[tuple[int, int, str]] = []
    start = 0
    while start < len(text):
        border = start + _SLICE
        base, stop = max(0, start - REACH), min(border + HOLD, len(text))
        for first, last, kind in _spans(text[base:stop], wanted):
            if start <= base + first < border:
                end = base + last
                if end == stop < len(text):
                    space = _SPACE.search(text, end)
                    end = space.start() if space is not None else len(text)
                found.append((base + first, end, kind))
        start = max(border, found[-1][1] if found else 0)
    return found
