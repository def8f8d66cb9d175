"""Postal codes: British ones and US ZIP+4 by form, a US ZIP after its state, and any other after "zip" or "postcode"."""

from __future__ import annotations

import re

from penstock.screening.personal.contract import DIGIT, Kind, Span

_FORMS = re.compile(
    r"(?<![\w-])(?:(?:GIR 0AA|[A-PR-UWYZ][A-HK-Y]?[0-9][0-9A-HJKPS-UW]? [0-9][ABD-HJLNP-UW-Z]{2})|(?<=\b[A-Z]{2} )[0-9]{5}(?:-[0-9]{4})?"
    r"|(?<=[a-z], )[0-9]{5}-[0-9]{4})(?![\w-])"
)
_SAID = re.compile(
    r"\b(?:zip(?: ?code)?|post(?:al)? ?code)(?:\s?[:=]\s?|(?: number)? is | )"
    r"((?:[0-9]{3,6}|[A-Z]{1,2}-?[0-9]{2,5})(?:[ -][0-9]{2,4}|[ ]?[A-Z]{2})?)(?![\w-])",
    re.IGNORECASE,
)


def _find(text: str) -> list[Span]:
    found = [m.span() for m in _FORMS.finditer(text)]
    said = [m.span(1) for m in _SAID.finditer(text)]
    return sorted({*found, *said}) if said else found


KIND = Kind("postcode", DIGIT, _find, re.compile(r"(?:[A-Z]{1,2}-?)?[0-9][0-9A-Z]{0,5}(?:[ -][0-9A-Za-z]{0,4})?\Z"))
