"""Telephone numbers of any country: by form (+, trunk 0, US 3-3-4), or by a word such as "phone" beside them.

Told by form: an international +, brackets around an area code, the North American 3-3-4, groups after a trunk 0. Other numbers of 7–12
digits count only next to a word that says what they are.
"""

from __future__ import annotations

import re

from penstock.screening.personal.contract import SEVEN, Kind, Span, mentioned

_RUN = re.compile(
    r"(?<![\w./-])(?<![\w][:=,])(?:\+ ?|\()?[0-9](?:[ .\-/]?[0-9]|[ .-]?\([0-9]{1,5}\)|\)[ .\-/]?(?=[0-9])){6,17}(?:\)[ .-]?[0-9]{1,12})?"
    r"(?: ?(?:x|ext\.? ?)[0-9]{1,6})?(?![\w]|[-/.,][0-9])"
)
_BEFORE = re.compile(
    r"\b(?:phones?|call(?:ed|ing|s)?|tel(?:ephone)?|mobile|cell(?:phone)?|fax|desk|office|home|work|dial(?:ed)?|ring|whatsapp|sms|text(?:ed|ing)?"
    r"|messages?|answering|reach(?:ed)?|contact|registered|line|number)\b",
    re.IGNORECASE,
)
_AFTER = re.compile(r"[ -]\(?(?:office|mobile|cell|fax|home|work|desk)\b", re.IGNORECASE)
_OTHER = re.compile(
    r"\b(?:card|account|order|invoice|licen[cs]e|passport|id|zip|iban|ssn|security|reference|tracking)\b[^\n]{0,24}\Z", re.IGNORECASE
)
_NORTH_AMERICA = re.compile(r"(?:\+?1[ .-]?)?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}(?: ?(?:x|ext).*)?")
_TRUNK = re.compile(r"\(?0[0-9]{1,4}\)?[ .\-/][0-9]{2,4}[ .\-/]?[0-9]{2,6}(?:[ .-]?[0-9]{1,4}){0,3}")
_BRACKETED = re.compile(r"\([0-9]{2,5}\) ?[0-9]{2,5}(?:[ .-]?[0-9]{2,5}){1,3}(?: ?(?:x|ext).*)?")
_YEARS = re.compile(r"(?:1[89]|20)[0-9]{2}[ .\-/](?:1[89]|20)[0-9]{2}")
_DIGITS = re.compile(r"[^0-9]+")


def _find(text: str) -> list[Span]:
    return [m.span() for m in _RUN.finditer(text) if _is_phone(m[0], text, m.start(), m.end())]


def _is_phone(number: str, text: str, start: int, end: int) -> bool:
    main = re.split(r" ?(?:x|ext)", number)[0]
    count = len(_DIGITS.sub("", main))
    if not 7 <= count <= 15 or number.count("(") != number.count(")") or _YEARS.fullmatch(number):
        return False
    if number[0] == "+":
        return count >= 8
    if _OTHER.search(text, max(0, start - 48), start):
        return False
    if count >= 9 and any(form.fullmatch(number) for form in (_NORTH_AMERICA, _TRUNK, _BRACKETED)):
        return True
    return count <= 12 and (mentioned(_BEFORE, text, start, 32) or _AFTER.match(text, end) is not None)


KIND = Kind("phone", SEVEN, _find, (re.compile(r"[+(0-9][0-9 ().\-/x]{0,40}(?:e?x?t?\.? ?[0-9]{0,6}|[ -]\(?[A-Za-z]{0,6})\Z"),))
