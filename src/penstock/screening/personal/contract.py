"""A kind of personal data, and the traits that tell cheaply which kinds a text can hold at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

AT, LINK, DIGIT, SEVEN, LONG = 1, 2, 4, 8, 16

_DIGIT = re.compile(r"[0-9]")
_SEVEN = re.compile(r"[0-9](?:[^0-9A-Za-z\n]{0,3}[0-9]){6}")
_LONG = re.compile(r"[0-9A-Za-z]{26}")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Kind:
    """`find` gives spans in order; it is called only on texts with all traits of `needs`.

    Each of `openings` matches, at the end of a text, what more text could make or extend into a finding, when that is more than the
    last word; it may begin inside a word. Those in `openings` are tried only where there is a digit, those in `wordings` always.
    """

    name: str
    needs: int
    find: Callable[[str], Iterable[Span]]
    openings: tuple[re.Pattern[str], ...] = ()
    wordings: tuple[re.Pattern[str], ...] = ()


def traits(text: str) -> int:
    """AT an @, LINK a scheme or www., DIGIT a digit, SEVEN seven near each other, LONG 26 letters or digits in a row."""
    found = AT if "@" in text else 0
    if "://" in text or "www." in text or "WWW." in text:
        found |= LINK
    if _DIGIT.search(text) is not None:
        found |= DIGIT
        if _SEVEN.search(text) is not None:
            found |= SEVEN
        if _LONG.search(text) is not None:
            found |= LONG
    return found


def anchored(pattern: re.Pattern[str], coarse: re.Pattern[str]) -> Callable[[str], list[Span]]:
    """The `find` of a kind whose `pattern` is tried only where `coarse` matches.

    `coarse` begins with a character or class, which `re` skips to quickly; a pattern that begins with a look behind cannot.
    """

    def find(text: str) -> list[Span]:
        found: list[Span] = []
        end = 0
        for place in coarse.finditer(text):
            if place.start() >= end and (match := pattern.match(text, place.start())) is not None:
                end = match.end()
                found.append(match.span(1 if pattern.groups else 0))
        return found

    return find


def matches(pattern: re.Pattern[str]) -> Callable[[str], list[Span]]:
    """The `find` of a kind that a pattern alone decides; group 1 is the finding where the pattern has one."""
    group = 1 if pattern.groups else 0
    return lambda text: [match.span(group) for match in pattern.finditer(text)]


def mentioned(words: re.Pattern[str], text: str, start: int, within: int = 48) -> bool:
    """True when one of `words` stands in the `within` characters before `start`."""
    return words.search(text, max(0, start - within), start) is not None
