"""US social security and taxpayer numbers: written 3-2-4, or nine digits after a word that says so."""

from __future__ import annotations

import re

from penstock.screening.personal.contract import SEVEN, Kind, Span, mentioned

_PATTERN = re.compile(
    r"(?<![\w-])(?!000|666)[0-9]{3}(?:-(?!00)[0-9]{2}-|[ ](?!00)[0-9]{2}[ ]|(?!00)[0-9]{2})(?!0000)[0-9]{4}(?!-?[\w])",
)
_WORDS = re.compile(r"\b(?:ssn|social security|itin|taxpayer)\b", re.IGNORECASE)


def _find(text: str) -> list[Span]:
    return [m.span() for m in _PATTERN.finditer(text) if "-" in m[0] or mentioned(_WORDS, text, m.start())]


KIND = Kind("ssn", SEVEN, _find, (re.compile(r"[0-9][0-9 -]{0,11}\Z"),))
