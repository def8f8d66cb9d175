"""Bank account numbers: ISO 13616 length of the country and the mod-97 check of ISO 7064."""

from __future__ import annotations

import re

from penstock.screening.personal.contract import SEVEN, Kind, Span

_LENGTHS = {
    country: int(length)
    for length, countries in {
        "15": "NO",
        "16": "BE",
        "18": "DK FK FI FO GL NL SD",
        "19": "MK SI",
        "20": "AT BA EE KZ LT LU MN XK",
        "21": "CH HR LI LV",
        "22": "BG BH CR DE GB GE IE ME RS VA",
        "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG",
        "25": "LY PT ST",
        "26": "IS TR",
        "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB NI PL SV",
        "29": "BR EG PS QA UA",
        "30": "JO KW MU YE",
        "31": "MT SC",
        "32": "LC",
        "33": "RU",
    }.items()
    for country in countries.split()
}
_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?=[ -]?[A-Za-z0-9]{2})")
_REST = re.compile(r"(?:[ -]?[A-Za-z0-9]){11,34}")


def _find(text: str) -> list[Span]:
    found: list[Span] = []
    for match in _START.finditer(text):
        length = _LENGTHS.get(match[0][:2].upper())
        if length is None or (found and match.start() < found[-1][1]):
            continue
        rest = _REST.match(text, match.end())
        if rest is not None and (end := _end(text, match.start(), rest.end(), length)) is not None:
            found.append((match.start(), end))
    return found


def _end(text: str, start: int, limit: int, length: int) -> int | None:
    """Where the number of `length` letters and digits ends, if it is one."""
    number, index = "", start
    while index < limit and len(number) < length:
        if text[index] not in " -":
            number += text[index]
        index += 1
    if len(number) < length or (index < len(text) and text[index].isalnum()):
        return None
    digits = "".join(str(int(char, 36)) for char in number[4:] + number[:4])
    return index if int(digits) % 97 == 1 else None


KIND = Kind("iban", SEVEN, _find, (re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}[A-Za-z0-9 -]{0,42}\Z"),))
