"""IP addresses, version 4 and 6 (RFC 4291). A dotted version number of four small parts cannot be told from an address."""

from __future__ import annotations

import ipaddress
import re

from penstock.screening.personal.contract import DIGIT, Kind, Span

_PART = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_FOUR = re.compile(rf"(?<![\w.])(?:{_PART}\.){{3}}{_PART}(?!\w|\.[0-9])")
_SIX = re.compile(r"(?<![\w:.])[0-9A-Fa-f:][0-9A-Fa-f:.]{1,44}(?![\w:])")


def _four(text: str) -> list[Span]:
    return [m.span() for m in _FOUR.finditer(text)] if text.count(".") > 2 else []


def _six(text: str) -> list[Span]:
    return [(m.start(), m.start() + len(m[0].rstrip("."))) for m in _SIX.finditer(text) if m[0].count(":") > 1 and _valid(m[0].rstrip("."))]


def _valid(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return any(char in "0123456789" for char in text)


def _find(text: str) -> list[Span]:
    found = _four(text)
    if text.count(":") > 1:
        found = sorted(found + _six(text))
    return found


KIND = Kind("ip", DIGIT, _find)
