"""The grammar that goes to the runtime: expressions in xgrammar's EBNF that are valid because only these functions write them.

The runtime compiles a grammar inside a step, and one that it refuses breaks the pipeline for all who run. So nothing that a
caller sent reaches it as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from penstock.core.errors import BadInput

LARGEST = 20_000  # characters and character classes of a grammar, repetitions written out
EMPTY = '""'
_LAST = 0x10FFFF


@dataclass(frozen=True, slots=True)
class Expression:
    """`size`: characters and classes, repetitions written out. `ends`: whether it can, when the rules of these names can."""

    text: str
    size: int
    ends: Callable[[set[str]], bool]


@dataclass(slots=True)
class Rules:
    """Named rules; the runtime begins with `root`."""

    bodies: dict[str, Expression] = field(default_factory=dict)

    def add(self, name: str, body: Expression) -> Expression:
        """Gives the rule a body, and an expression that refers to it. Raises BadInput when all together are too large."""
        self.bodies[name] = body
        check_size(sum(one.size for one in self.bodies.values()))
        return reference(name)

    def text(self) -> str:
        """The grammar. Raises BadInput for a rule that refers to itself without a way out: no answer could satisfy it."""
        ending: set[str] = set()
        while more := {name for name, body in self.bodies.items() if name not in ending and body.ends(ending)}:
            ending |= more
        if endless := sorted(set(self.bodies) - ending):
            raise BadInput(f"the output format never ends: {endless[0]!r} always leads to itself again")
        return "\n".join(f"{name} ::= {body.text}" for name, body in self.bodies.items())


def check_size(size: int) -> None:
    if size > LARGEST:
        raise BadInput(f"the output format has {size} characters and classes with its repetitions written out; at most {LARGEST} are taken")


def literal(text: str) -> Expression:
    return Expression('"' + "".join(map(_escaped, text)) + '"', len(text), _always)


def characters(ranges: Iterable[tuple[int, int]], *, negated: bool = False, without: Iterable[tuple[int, int]] = ()) -> Expression:
    """One character out of `ranges` of code points, ends included, or not out of them; never one of `without`, nor a surrogate."""
    never = [(0xD800, 0xDFFF), *without]
    wanted = _complement(_merged([*(ranges if negated else _complement(_merged(ranges))), *never]))
    if not wanted:
        raise BadInput("a character class of the output format holds no character")
    text = "".join(f"{_escaped(chr(low))}-{_escaped(chr(high))}" for low, high in wanted)
    return Expression(f"[{text}]", 1, _always)


def sequence(parts: Sequence[Expression]) -> Expression:
    kept = [part for part in parts if part.text != EMPTY]
    if not kept:
        return literal("")
    text = "(" + " ".join(part.text for part in kept) + ")"
    return Expression(text, sum(part.size for part in kept), lambda known: all(part.ends(known) for part in kept))


def either(parts: Sequence[Expression]) -> Expression:
    text = "(" + " | ".join(part.text for part in parts) + ")"
    return Expression(text, sum(part.size for part in parts), lambda known: any(part.ends(known) for part in parts))


def repeated(part: Expression, least: int, most: int | None) -> Expression:
    """`part` from `least` to `most` times; None: without end."""
    if most is not None and most < least:
        raise BadInput(f"the output format repeats from {least} to {most} times, which is never")
    if most == 0 or part.text == EMPTY:
        return literal("")
    size = max(1, part.size) * (least + 1 if most is None else most)
    check_size(size)
    text = f"({part.text}){{{least},{'' if most is None else most}}}"
    return Expression(text, size, part.ends if least else _always)


def reference(name: str) -> Expression:
    return Expression(name, 1, lambda known: name in known)


def _always(_known: set[str]) -> bool:
    return True


def _escaped(character: str) -> str:
    code = ord(character)
    return character if character.isascii() and character.isalnum() else f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found


def _complement(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    edges = [-1, *(edge for low, high in ranges for edge in (low - 1, high)), _LAST]
    lows, highs = [edge + 1 for edge in edges[::2]], edges[1::2]
    return [(low, high) for low, high in zip(lows, highs, strict=True) if low <= high]
