"""The words of a gate: numbers, names, strings, signs, and a cursor over them that fails with a place and a suggestion."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, cast

MAX_DEPTH = 32

TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)"
    r"|(?P<string>\"[^\"]*\"|'[^']*')"
    r"|(?P<sign><=|>=|==|!=|[-+*/()<>,=%])"
)


class GateSyntax(ValueError):
    """`position` is the 0-based character of `text` where reading stopped; `suggestion` the nearest spelling, if one is near."""

    def __init__(self, text: str, position: int, reason: str, suggestion: str | None = None) -> None:
        hint = f" (did you mean {suggestion!r}?)" if suggestion else ""
        shown = text if len(text) <= 80 else text[:77] + "…"
        super().__init__(f"gate {shown!r}, character {position + 1}: {reason}{hint}")
        self.text, self.position, self.reason, self.suggestion = text, position, reason, suggestion


Kind = Literal["number", "name", "string", "sign", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    kind: Kind
    text: str
    start: int


def tokens(text: str) -> list[Token]:
    found, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = TOKEN.match(text, at)
        if match is None:
            near = {"≥": ">=", "≤": "<=", "≠": "!=", "&": "and", "|": "or"}.get(text[at])
            raise GateSyntax(text, at, f"{text[at]!r} is not part of the gate language", near)
        found.append(Token(cast(Kind, match.lastgroup), match[0], at))
        at = match.end()
    return [*found, Token("end", "the end", len(text))]


class Cursor:
    """Where reading stands in a list of tokens."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        self.text, self.tokens, self.at = text, tokens, 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def fail(self, reason: str, known: Sequence[str] = (), token: Token | None = None) -> NoReturn:
        token = token or self.token
        near = difflib.get_close_matches(token.text, known, 1, 0.6)
        raise GateSyntax(self.text, token.start, reason, near[0] if near else None)

    def take(self, *texts: str) -> Token | None:
        token = self.token
        if token.text not in texts or token.kind == "end":
            return None
        self.at += 1
        return token

    def expect(self, text: str) -> Token:
        token = self.take(text)
        if token is None:
            self.fail(f"expected {text!r}, found {self.token.text!r}")
        return token

    def metric_name(self) -> Token:
        token = self.token
        if token.kind != "name" or token.text in ("and", "or", "not"):
            self.fail(f"expected the name of a metric, found {token.text!r}")
        self.at += 1
        return token

    def bound(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.fail(f"nested or chained more than {MAX_DEPTH} deep; write several gates")
