"""Dates with a day: numeric, ISO 8601 with or without a time, and English words. Not covered: a year or a weekday alone."""

from __future__ import annotations

import re

from penstock.screening.personal.contract import DIGIT, Kind, Span, anchored

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
)
_NAMED = re.compile(r"Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec")
_DAY, _NUMBER = r"(?:0?[1-9]|[12][0-9]|3[01])", r"(?:0?[1-9]|1[0-2])"
_YEAR, _TH = r"(?:1[89]|20)[0-9]{2}", r"(?:st|nd|rd|th)?"
_TIME = r"(?:[T ][0-2][0-9]:[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]{1,9})?)?(?:Z|[+-][0-2][0-9]:?[0-5][0-9])?)?"
_NUMERIC = "|".join(
    rf"{_YEAR}{s}(?:0[1-9]|1[0-2]){s}(?:0[1-9]|[12][0-9]|3[01]){_TIME}|(?:{_NUMBER}{s}{_DAY}|{_DAY}{s}{_NUMBER}){s}(?:{_YEAR}|[0-9]{{2}})"
    for s in ("-", "/", r"\.")
)
_END = r"(?!\w|[-/.:][0-9])"
_BEGIN = r"(?<![\w./-])"
_digits = anchored(re.compile(rf"{_BEGIN}(?:{_NUMERIC}){_END}"), re.compile(r"[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]"))
_day_first = anchored(
    re.compile(rf"{_BEGIN}{_DAY}{_TH}(?: of)? {_MONTH}(?:,? {_YEAR})?{_END}"), re.compile(r"[0-9]{1,2}[a-z]{0,2} (?:of )?[A-Z]")
)
_month_first = anchored(re.compile(rf"{_BEGIN}{_MONTH} {_DAY}{_TH}(?:,? {_YEAR})?{_END}"), re.compile(r"[ADFJMNOS][a-z]{2,8}\.? [0-9]"))


def _find(text: str) -> list[Span]:
    found = _digits(text)
    if _NAMED.search(text) is not None:
        taken = {start for start, _ in found}
        for start, end in (*_day_first(text), *_month_first(text)):
            if start not in taken:
                found.append((start, end))
        found.sort()
    return found


_YEAR_FIRST = re.compile(r"[12][0-9]{3}-[0-9-]{0,6}[T ]?[0-9:.,Z+-]*\Z")
_DAY_FIRST = re.compile(r"[0-9]{1,2}[a-z]{0,2}(?: o?f?)?(?: [A-Z]?[a-z]{0,8}\.?)?(?:,? [0-9]{0,4})?\Z")
_MONTH_FIRST = re.compile(rf"(?:{_NAMED.pattern})[a-z]{{0,6}}\.?(?: [0-9]{{0,2}}[a-z]{{0,2}})?(?:,? ?[0-9]{{0,4}})?\Z")

KIND = Kind("date", DIGIT, _find, (_YEAR_FIRST, _DAY_FIRST), (_MONTH_FIRST,))
