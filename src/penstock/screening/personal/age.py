"""Ages of people: a number beside "years old", "aged", "turned" and the like (English). The finding is the number."""

from __future__ import annotations

import re

from penstock.screening.personal.contract import DIGIT, Kind, Span

_AFTER = re.compile(
    r"(?<![\w.,$-])(1[01][0-9]|[1-9]?[0-9])(?=[ -](?:years?|yrs?|months?)[ -](?:old|of age)\b| ?y/?o\b|[ -]year-olds?\b)", re.IGNORECASE
)
_OTHER = r"(?![\w%]|[.,:/][0-9]| (?:degrees|percent|pages?|minutes|times))"
_BEFORE = re.compile(rf"\b(?:aged|age(?: of| is|:)?|turn(?:s|ed|ing)?) (1[01][0-9]|[1-9]?[0-9]){_OTHER}", re.IGNORECASE)


_HINTS = ("year", "yr", "y/o", "yo ", "month", "age", "turn")


def _find(text: str) -> list[Span]:
    low = text.lower()
    if not any(hint in low for hint in _HINTS):
        return []
    return sorted({m.span(1) for pattern in (_AFTER, _BEFORE) for m in pattern.finditer(text)})


KIND = Kind("age", DIGIT, _find, (re.compile(r"[0-9]{1,3}(?:[ -][A-Za-z/]{0,7}){0,2}\Z"),))
