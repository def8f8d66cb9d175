"""A regular expression as a grammar, read by Python's own parser: whatever is written, `re.fullmatch` accepts.

Not covered, and refused: look-around, back-references, flags, word boundaries, possessive and atomic groups. `\\d`, `\\w`, `\\s` and
their opposites stand for ASCII characters only.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from penstock.core.errors import BadInput
from penstock.engines.constraints.rules import Expression, characters, either, literal, repeated, sequence

_NAMED = {
    "DIGIT": ((0x30, 0x39),),
    "WORD": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    "SPACE": ((9, 13), (0x20, 0x20)),
}
LONGEST = 4096  # characters of an expression
Ranges = list[tuple[int, int]]


def from_regex(pattern: str, write: Callable[[str], str] = str, without: Sequence[tuple[int, int]] = ()) -> Expression:
    """Raises BadInput for an expression that Python refuses, or with a part that no grammar can say.

    `write` says how a character of the expression is written in the answer; no class of it holds a character of `without`.
    """
    if len(pattern) > LONGEST:
        raise BadInput(f"the regular expression has {len(pattern)} characters; at most {LONGEST} are taken")
    try:
        re.compile(pattern)
        tree = importlib.import_module("re._parser").parse(pattern)  # the tree has no public name
        if tree.state.flags & ~re.UNICODE:
            raise BadInput("the regular expression has flags, which an output format cannot have")
        return _Reader(write, without).whole(list(tree))
    except (re.error, RecursionError, OverflowError) as error:
        raise BadInput(f"the regular expression does not read: {error}") from error


class _Reader:
    def __init__(self, write: Callable[[str], str], without: Sequence[tuple[int, int]]) -> None:
        self._write, self._without = write, without
        self._readers: dict[str, Callable[[Any], Expression]] = {
            "LITERAL": self._literal,
            "NOT_LITERAL": lambda code: self._outside([(code, code)]),
            "ANY": lambda _: self._outside([(10, 10)]),
            "IN": self._set,
            "BRANCH": lambda value: either([self._all(branch) for branch in value[1]]),
            "SUBPATTERN": self._group,
            "MAX_REPEAT": self._repeat,
            "MIN_REPEAT": self._repeat,
        }

    def whole(self, items: list[Any]) -> Expression:
        """A full match begins and ends by itself, so anchors at its ends say nothing."""
        while items and _name(items[0]) == "AT" and str(items[0][1]) in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
            items = items[1:]
        while items and _name(items[-1]) == "AT" and str(items[-1][1]) in ("AT_END", "AT_END_STRING"):
            items = items[:-1]
        return self._all(items)

    def _all(self, items: Sequence[Any]) -> Expression:
        return sequence([self._one(item) for item in items])

    def _one(self, item: Any) -> Expression:
        name = _name(item)
        if name not in self._readers:
            raise BadInput(f"the regular expression uses {name.lower().replace('_', ' ')}, which an output format cannot have")
        return self._readers[name](item[1])

    def _literal(self, code: int) -> Expression:
        if 0xD800 <= code <= 0xDFFF:
            raise BadInput("the regular expression holds half of a character")
        return literal(self._write(chr(code)))

    def _outside(self, ranges: Ranges) -> Expression:
        return characters(ranges, negated=True, without=self._without)

    def _group(self, value: Any) -> Expression:
        _, added, removed, inner = value
        if added or removed:
            raise BadInput("the regular expression has flags, which an output format cannot have")
        return self._all(inner)

    def _repeat(self, value: Any) -> Expression:
        least, most, inner = value
        return repeated(self._all(inner), int(least), None if str(most) == "MAXREPEAT" else int(most))

    def _set(self, items: Any) -> Expression:
        negated = _name(items[0]) == "NEGATE"
        found = [one for item in items[negated:] for one in _ranges(item)]
        if negated and any(_name(item) == "CATEGORY" for item in items):
            found.append((0x80, 0x10FFFF))  # Python's classes hold characters beyond ASCII, so those are left out of the opposite
        return characters(found, negated=negated, without=self._without)


def _name(item: Any) -> str:
    return str(item[0])


def _ranges(item: Any) -> Ranges:
    name, value = _name(item), item[1]
    if name == "LITERAL":
        return [(value, value)]
    if name == "RANGE":
        return [value]
    kind = str(value).removeprefix("CATEGORY_")
    if kind.startswith("NOT_"):
        return [(code, code) for code in range(128) if not any(low <= code <= high for low, high in _NAMED[kind.removeprefix("NOT_")])]
    return list(_NAMED[kind])
