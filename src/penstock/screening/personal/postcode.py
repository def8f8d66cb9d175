"""Postal codes: British ones and US ZIP+4 by form, a US ZIP after its state, and any other after "zip" or "postcode"."""

from __future__ import annotations

import re

from penstock.screening.personal.contract import DIGIT, Kind, Span, anchored

_AMERICAN = anchored(re.compile(r"(?<=\b[A-Z]{2} )[0-9]{5}(?:-[0-9]{4})?(?![\w-])"), re.compile(r"[0-9]{5}"))
_INWARD = re.compile(r" [0-9][ABD-HJLNP-UW-Z]{2}(?![\w-])")
_OUTWARD = re.compile(r"(?<![\w-])(?:GIR|[A-PR-UWYZ][A-HK-Y]?[0-9][0-9A-HJKPS-UW]?)\Z")
_SAID = re.compile(
    r"\b(?:zip(?: ?code)?|post(?:al)? ?code)(?:\s?[:=]\s?|(?: number)? is | )"
    r"((?:[0-9]{3,6}|[A-Z]{1,2}-?[0-9]{2,5})(?:[ -][0-9]{2,4}|[ ]?[A-Z]{2})?)(?![\w-])",
    re.IGNORECASE,
)


def _find(text: str) -> list[Span]:
    found = set(_AMERICAN(text))
    for inward in _INWARD.finditer(text):
        if outward := _OUTWARD.search(text, max(0, inward.start() - 5), inward.start()):
            found.add((outward.start(), inward.end()))
    low = text.lower()
    if "zip" in low or "post" in low:
        found.update(m.span(1) for m in _SAID.finditer(text))
    return sorted(found)


KIND = Kind("postcode", DIGIT, _find, (re.compile(r"[0-9][0-9A-Z]{0,5}(?:[ -][0-9A-Za-z]{0,4})?\Z"),))
