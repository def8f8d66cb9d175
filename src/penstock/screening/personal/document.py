"""Numbers of driving licences, passports and identity cards: letters and digits right after words that say so (English)."""

from __future__ import annotations

import re

from penstock.screening.personal.contract import DIGIT, Kind, Span

_PATTERN = re.compile(
    r"\b(?:(?:driver['’]?s?|driving) licen[cs]e|passport|national id|identity card|id card)(?: number| no\.?)?(?: is|:)? "
    r"((?=[A-Z-]{0,6}[0-9])[A-Z0-9](?:-?[A-Z0-9]){4,18})(?![\w-])",
    re.IGNORECASE,
)

_HINTS = ("licen", "passport", "identity", "id ")


def _find(text: str) -> list[Span]:
    low = text.lower()
    return [m.span(1) for m in _PATTERN.finditer(text)] if any(hint in low for hint in _HINTS) else []


KIND = Kind("document", DIGIT, _find)
