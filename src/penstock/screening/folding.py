"""One normaliser for all checks: what looks the same becomes the same, and offsets lead back to the text that was given.

`plain` keeps letters as they are: compatibility forms (full width, ligatures, styled letters) to their plain ones (NFKC), digits of any
script to 0–9, spaces and dashes to the common ones, invisible characters out. `folded` goes further, for words: lower case, accents off,
letters of other scripts that look Latin (a selection of Unicode's confusables, UTS #39) to Latin.
Not covered: digits and signs written for letters ("h4te"), letters spaced out, images of text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

_LOOKALIKES = dict(
    zip(
        "аеорсухіјѕԁһӏвкмнтԛԝɡɑαοινρυκτχηβµƖℓ",
        "aeopcyxijsdhlbkmhtqwgaaoivpuktxnbull",
        strict=True,
    )
)
_INVISIBLE = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10)}


def _plain(char: str) -> str:
    kind = unicodedata.category(char)
    if kind == "Cf" or ord(char) in _INVISIBLE:
        return ""
    if kind == "Nd":
        return str(unicodedata.decimal(char))
    if kind == "Zs":
        return " "
    if kind == "Pd" or char == "−":
        return "-"
    return unicodedata.normalize("NFKC", char)


def _folded(char: str) -> str:
    flat = "".join(c for c in unicodedata.normalize("NFKD", _plain(char)) if not unicodedata.combining(c)).casefold()
    return "".join(_LOOKALIKES.get(c, c) for c in flat)


class _Table(dict[int, str]):
    """For str.translate: characters are worked out when first met; there are at most 1,114,112 of them."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        super().__init__({code: rule(chr(code)) for code in range(128)})
        self._rule = rule

    def __missing__(self, code: int) -> str:
        found = self[code] = self._rule(chr(code))
        return found


_PLAIN, _FOLDED = _Table(_plain), _Table(_folded)


@dataclass(frozen=True, slots=True)
class Folded:
    """`text` is the new text; `source` the one it came from."""

    text: str
    source: str
    _table: _Table

    def spans(self, found: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Spans of `text` as spans of `source`."""
        if self.text == self.source or not found:
            return found
        origin: list[int] = []
        for index, char in enumerate(self.source):
            origin.extend([index] * len(self._table[ord(char)]))
        return [(origin[start], origin[end - 1] + 1) for start, end in found]


def plain(text: str) -> Folded:
    return Folded(text if text.isascii() else text.translate(_PLAIN), text, _PLAIN)


def folded(text: str) -> Folded:
    return Folded(text.lower() if text.isascii() else text.translate(_FOLDED), text, _FOLDED)
