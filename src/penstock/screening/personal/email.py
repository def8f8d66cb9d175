"""E-mail addresses (RFC 5321 without quoted local parts and address literals)."""

from __future__ import annotations

import re

from penstock.screening.personal.contract import AT, Kind, Span

# Each @ is looked at from both sides, at most 64 characters to the left: linear, whatever surrounds it.
_LOCAL = re.compile(r"[\w%+-][\w.+%-]{0,63}\Z")
_DOMAIN = re.compile(r"(?:[\w-]{1,63}\.){1,8}(?:[^\W\d_]{2,24}|xn--[\w-]{2,59})(?![\w-])")


def _find(text: str) -> list[Span]:
    found: list[Span] = []
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        if domain is not None and (local := _LOCAL.search(text, max(0, at - 64), at)) is not None:
            found.append((local.start(), domain.end()))
        at = text.find("@", at + 1)
    return found


KIND = Kind("email", AT, _find)
