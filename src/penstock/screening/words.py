"""Words and phrases of a list, whatever their case, accents, invisible characters or look-alike letters (see folding.py).

Whole words only: "ass" is not found in "class". Time does not depend on the length of the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from penstock.core.errors import BadInput
from penstock.screening.contract import HOLD, Finding
from penstock.screening.folding import folded

CHECK = "words"
# Scripts written without spaces are taken a character at a time.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_ASCII, _ANY = re.compile(r"\w+|[^\w\s]"), re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+|[^\w\s]")
_MAX_PHRASE = HOLD // 2


class Words:
    """The check `words`. Raises BadInput for a phrase without anything to look for, or longer than 128 characters."""

    name = CHECK
    whole: ClassVar[bool] = False
    reach: ClassVar[int] = 1

    def __init__(self, words: Iterable[str]) -> None:
        self._phrases: dict[str, list[tuple[str, ...]]] = {}
        for phrase in words:
            tokens = tuple(token for token, _, _ in _tokens(folded(phrase).text))
            if not tokens or len(phrase) > _MAX_PHRASE:
                rule = f"a word or phrase has 1–{_MAX_PHRASE} characters, and not only spaces"
                raise BadInput(f"{phrase[:40]!r} cannot be looked for: {rule}")
            self._phrases.setdefault(tokens[0], []).append(tokens)
        for same in self._phrases.values():
            same.sort(key=len, reverse=True)
        self._longest = max((len(p) for same in self._phrases.values() for p in same), default=0)

    def find(self, text: str) -> list[Finding]:
        flat = folded(text)
        tokens = _tokens(flat.text)
        spans: list[tuple[int, int]] = []
        index = 0
        while index < len(tokens):
            length = self._match(tokens, index)
            if length:
                spans.append((tokens[index][1], tokens[index + length - 1][2]))
            index += length or 1
        return [Finding(CHECK, "word", start, end) for start, end in flat.spans(spans)]

    def _match(self, tokens: list[tuple[str, int, int]], index: int) -> int:
        """Tokens of the longest phrase that begins here; 0 for none."""
        for phrase in self._phrases.get(tokens[index][0], ()):
            if len(phrase) == 1 or tuple(token for token, _, _ in tokens[index : index + len(phrase)]) == phrase:
                return len(phrase)
        return 0

    def opening(self, text: str) -> int:
        tail = text[-HOLD:]
        flat = folded(tail)
        tokens = _tokens(flat.text)
        for back in range(min(self._longest, len(tokens)), 0, -1):
            start = len(tokens) - back
            if self._could_begin(tokens[start:]):
                return len(text) - len(tail) + flat.spans([tokens[start][1:]])[0][0]
        return len(text)

    def _could_begin(self, tokens: list[tuple[str, int, int]]) -> bool:
        """True when more text could make these last tokens a phrase, or none of one: their last one may still grow."""
        *whole, (last, _, _) = tokens
        if not whole:
            return any(first.startswith(last) for first in self._phrases)
        said = tuple(token for token, _, _ in whole)
        phrases = self._phrases.get(said[0], ())
        return any(len(p) > len(said) and p[: len(said)] == said and p[len(said)].startswith(last) for p in phrases)


def _tokens(text: str) -> list[tuple[str, int, int]]:
    pattern = _ASCII if text.isascii() else _ANY
    return [(m[0], m.start(), m.end()) for m in pattern.finditer(text)]
