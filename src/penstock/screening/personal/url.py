"""Web addresses with a scheme or a leading www. Not covered: bare domains, which file names and abbreviations look like."""

from __future__ import annotations

import re

from penstock.screening.personal.contract import LINK, Kind, Span

_PATTERN = re.compile(r"(?<![\w.])(?:(?:https?|ftps?|wss?)://|www\.)[^\s<>\"`{}|\\^]+", re.IGNORECASE)
_AROUND = ".,;:!?'*_~"


def _find(text: str) -> list[Span]:
    found = []
    for match in _PATTERN.finditer(text):
        address = _trimmed(match[0])
        if not address.endswith("//") and address[-1] != ".":
            found.append((match.start(), match.start() + len(address)))
    return found


def _trimmed(address: str) -> str:
    """Without the punctuation of the sentence around it: brackets stay where they are opened inside."""
    address = address.rstrip(_AROUND)
    extra = {")": address.count(")") - address.count("("), "]": address.count("]") - address.count("[")}
    end = len(address)
    while end and (extra.get(address[end - 1], 0) > 0 or (end < len(address) and address[end - 1] in _AROUND)):
        if address[end - 1] in extra:
            extra[address[end - 1]] -= 1
        end -= 1
    return address[:end]


KIND = Kind("url", LINK, _find)
