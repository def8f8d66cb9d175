"""IP addresses, version 4 and 6 (RFC 4291). A dotted version number of four small parts cannot be told from an address."""

from __future__ import annotations

import ipaddress
import re

from penstock.screening.personal.contract import DIGIT, Kind, Span, anchored

_PART = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_four = anchored(re.compile(rf"(?<![\w.])(?:{_PART}\.){{3}}{_PART}(?!\w|\.[0-9])"), re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\."))
_SIX = re.compile(r"[0-9A-Fa-f:]{1,4}:[0-9A-Fa-f:.]{1,44}")


def _six(text: str) -> list[Span]:
    found = []
    for match in _SIX.finditer(text):
        address = match[0].rstrip(".")
        before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        if (
            address.count(":") > 1
            and not (before.isalnum() or before in ("_", ":", ".")) | (after.isalnum() or after in ("_", ":"))
            and _valid(address)
        ):
            found.append((match.start(), match.start() + len(address)))
    return found


def _valid(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return any(char in "0123456789" for char in text)


def _find(text: str) -> list[Span]:
    found = _four(text) if text.count(".") > 2 else []
    if text.count(":") > 1:
        found = sorted(found + _six(text))
    return found


KIND = Kind("ip", DIGIT, _find)
