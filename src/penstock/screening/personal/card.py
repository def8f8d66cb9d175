"""Payment card numbers: 12–19 digits, a known issuer's beginning and length, and the Luhn check (ISO/IEC 7812).

Numbers of 12 to 15 digits that only a rare issuer could have given need a word such as "card" before them.
"""

from __future__ import annotations

import re

from penstock.screening.personal.contract import SEVEN, Kind, Span, mentioned

_RUN = re.compile(r"(?<![0-9A-Za-z.])[0-9](?:[ -]?[0-9]){11,60}(?![0-9A-Za-z])")
_GROUP = re.compile(r"[0-9]+")
_ISSUERS = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)[0-9]{12,14}|3[47][0-9]{13}"
    r"|3(?:0[0-5]|[689][0-9])[0-9]{11}|35[0-9]{14,17}|(?:6011|64[4-9]|65|62|81)[0-9]{12,17}|(?:50|5[6-9]|6[0-9])[0-9]{14}"
)
_RARE = re.compile(r"(?:50|5[6-9]|6[0-9])[0-9]{10,17}|(?:1800|2131)[0-9]{11}")
_WORDS = re.compile(r"\b(?:cards?|cc|visa|mastercard|amex|maestro|debit|credit)\b", re.IGNORECASE)


def luhn(digits: str) -> bool:
    """ISO/IEC 7812 check digit."""
    odd = sum(map(int, digits[-1::-2]))
    return (odd + sum(int("0246813579"[int(digit)]) for digit in digits[-2::-2])) % 10 == 0


def _find(text: str) -> list[Span]:
    found: list[Span] = []
    for run in _RUN.finditer(text):
        groups = [group.span() for group in _GROUP.finditer(text, *run.span())]
        first = 0
        while first < len(groups):
            last = _last_group(text, groups, first)
            if last is None:
                first += 1
            else:
                found.append((groups[first][0], groups[last][1]))
                first = last + 1
    return found


def _last_group(text: str, groups: list[Span], first: int) -> int | None:
    """The group with which a card number that begins with group `first` ends."""
    digits = ""
    for last in range(first, len(groups)):
        start, end = groups[last]
        digits += text[start:end]
        if len(digits) > 19:
            return None
        if len(digits) >= 12 and _is_card(digits, text, groups[first][0]):
            return last
    return None


def _is_card(digits: str, text: str, start: int) -> bool:
    if _ISSUERS.fullmatch(digits) is None and (_RARE.fullmatch(digits) is None or not mentioned(_WORDS, text, start)):
        return False
    return luhn(digits)


KIND = Kind("card", SEVEN, _find, (re.compile(r"[0-9][0-9 -]{0,90}\Z"),))
