"""Web addresses with a scheme or a leading www. Not covered: bare domains, which file names and abbreviations look like."""

from __future__ import annotations

import re

from penstock.screening.personal.contract import LINK, Kind, Span

_PATTERN = re.compile(r"(?<![\w.])(?:(?:https?|ftps?|wss?)://|www\.)[^\s<>\"`{}|\\^]+", re.IGNORECASE)


def _find(text: str) -> list[Span]:
    found = []
    for match in _PATTERN.finditer(text):
        address = match[0].rstrip(".,;:!?'*_~")
        if address.endswith((")", "]")) and address.count("(") < address.count(")") + address.count("]") - address.count("["):
            address = address.rstrip(")].,;:!?'")
        if len(address) > 7 or address[:4].lower() == "www.":
            found.append((match.start(), match.start() + len(address)))
    return found


KIND = Kind("url", LINK, _find)
