"""A grammar in EBNF, the dialect of llama.cpp and xgrammar, read and written anew.

`name ::= body`, begun at `root`; in a body: "text", [a-z], [^a-z], names, groups, `|`, and after any of these `*`, `+`, `?`,
{n}, {n,}, {n,m}.
Escapes: \\n \\r \\t \\" \\\\ \\- \\] \\[ \\^ \\xHH \\uHHHH \\UHHHHHHHH. `#` begins a comment.
"""

from __future__ import annotations

import re
from typing import NoReturn

from penstock.core.errors import BadInput
from penstock.engines.constraints.rules import Expression, Rules, characters, either, literal, reference, repeated, sequence

LONGEST = 1 << 16  # characters of a grammar
DEEPEST = 64  # groups inside each other
_GAP = re.compile(r"(?:\s|#[^\n]*)*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_HEAD = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)(?:\s|#[^\n]*)*::=")
_COUNT = re.compile(r"\{\s*(\d{1,6})\s*(,?)\s*(\d{0,6})\s*\}")
_ESCAPE = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.)", re.DOTALL)
_SHORT = {"n": "\n", "r": "\r", "t": "\t"}


def from_ebnf(text: str) -> Rules:
    """Raises BadInput with the line of what is wrong."""
    if len(text) > LONGEST:
        raise BadInput(f"the grammar has {len(text)} characters; at most {LONGEST} are taken")
    return _Reader(text).all()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0
        self._used: dict[str, int] = {}  # names to the place of their first use

    def all(self) -> Rules:
        rules = Rules()
        self._gap()
        while self._at < len(self._text):
            head = _HEAD.match(self._text, self._at) or self._fail("a rule (name ::= …) is wanted")
            if _ours(head[1]) in rules.bodies:
                self._fail(f"the rule {head[1]!r} is there twice")
            self._at = head.end()
            self._gap()
            rules.add(_ours(head[1]), self._either())
        for name, at in self._used.items():
            if _ours(name) not in rules.bodies:
                self._at = at
                self._fail(f"the rule {name!r} is used but not there")
        if _ours("root") not in rules.bodies:
            self._fail("the rule 'root' is not there")
        rules.add("root", reference(_ours("root")))
        return rules

    def _either(self) -> Expression:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else either(parts)

    def _sequence(self) -> Expression:
        parts = []
        while self._at < len(self._text) and self._text[self._at] not in "|)" and not _HEAD.match(self._text, self._at):
            parts.append(self._counted(self._item()))
        return sequence(parts)

    def _item(self) -> Expression:
        if self._take("("):
            self._depth += 1
            if self._depth > DEEPEST:
                self._fail(f"groups lie more than {DEEPEST} deep")
            inner = self._either()
            if not self._take(")"):
                self._fail("a closing parenthesis is wanted")
            self._depth -= 1
            return inner
        if self._take('"', gap=False):
            return literal(self._quoted())
        if self._take("[", gap=False):
            return self._class()
        name = _NAME.match(self._text, self._at) or self._fail(f"{self._text[self._at]!r} begins nothing")
        self._used.setdefault(name[0], self._at)
        self._at = name.end()
        self._gap()
        return reference(_ours(name[0]))

    def _counted(self, item: Expression) -> Expression:
        while True:
            if self._take("*"):
                item = repeated(item, 0, None)
            elif self._take("+"):
                item = repeated(item, 1, None)
            elif self._take("?"):
                item = repeated(item, 0, 1)
            elif count := _COUNT.match(self._text, self._at):
                self._at = count.end()
                self._gap()
                most = int(count[3]) if count[3] else None if count[2] else int(count[1])
                item = repeated(item, int(count[1]), most)
            else:
                return item

    def _quoted(self) -> str:
        found = []
        while not self._take('"'):
            found.append(self._character())
        return "".join(found)

    def _class(self) -> Expression:
        negated, ranges = self._take("^", gap=False), []
        while not self._take("]"):
            low = high = self._character()
            if self._text[self._at : self._at + 1] == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                high = self._character()
            if high < low:
                self._fail(f"the range {low!r}-{high!r} is empty")
            ranges.append((ord(low), ord(high)))
        return characters(ranges, negated=negated)

    def _character(self) -> str:
        if self._at >= len(self._text) or self._text[self._at] == "\n":
            self._fail("a closing quote or bracket is wanted")
        one = self._text[self._at]
        self._at += 1
        if one != "\\":
            return one
        escape = _ESCAPE.match(self._text, self._at) or self._fail("a backslash ends the grammar")
        self._at = escape.end()
        code = escape[1] or escape[2] or escape[3]
        if code is None:
            return _SHORT.get(escape[4], escape[4])
        if 0xD800 <= int(code, 16) <= 0xDFFF or int(code, 16) > 0x10FFFF:
            self._fail(f"{code} is no character")
        return chr(int(code, 16))

    def _take(self, mark: str, *, gap: bool = True) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        if gap:
            self._gap()
        return True

    def _gap(self) -> None:
        gap = _GAP.match(self._text, self._at)
        self._at = gap.end() if gap else self._at

    def _fail(self, what: str) -> NoReturn:
        raise BadInput(f"the grammar does not read at line {self._text.count(chr(10), 0, self._at) + 1}: {what}")


def _ours(name: str) -> str:
    return "r-" + name  # so that no rule is called as one of the runtime's own
