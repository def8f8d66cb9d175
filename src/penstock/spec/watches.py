"""Conditions over signals as written: `error_rate > 5% for 1m`, `drift.input for 10m`, `worse_than(champion, latency, margin=20%)`.

    watch      := all ("or" all)* ["for" DURATION]
    all        := leaf ("and" leaf)*
    leaf       := "worse_than" "(" "champion" "," SIGNAL ["," "margin" "=" NUMBER] ")"
                | sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)+        as in gates.py
                | SIGNAL                                                    it is over its own limit

Amounts of signals that begin with `cost` may say USD. Judging: monitoring/alerting for signals, control/rollouts for a new version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from penstock.spec.conditions import AllOf, Comparison, metrics_in
from penstock.spec.gate_tokens import tokens
from penstock.spec.gates import MAX_LENGTH, GateSyntax, Reader
from penstock.spec.signals import COMPARABLE

_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Alarm:
    """The signal is over its own limit, such as one that was calibrated on the reference."""

    signal: str


@dataclass(frozen=True, slots=True)
class Worse:
    """The new version is worse than the champion by more than `margin`: in the signal's unit; of latency as a part of the champion's."""

    signal: str
    margin: float


Leaf = Comparison | Alarm | Worse


@dataclass(frozen=True, slots=True)
class Watch:
    """It holds when all of one of `any_of` hold, and have for `for_s` seconds without a break."""

    text: str
    any_of: tuple[tuple[Leaf, ...], ...]
    for_s: float = 0.0

    @property
    def leaves(self) -> Iterator[Leaf]:
        return (leaf for leaves in self.any_of for leaf in leaves)


def signals_used(watch: Watch) -> tuple[str, ...]:
    """Names in order of appearance, each once."""
    return tuple(dict.fromkeys(name for leaf in watch.leaves for name in names_of(leaf)))


def names_of(leaf: Leaf) -> Iterator[str]:
    if isinstance(leaf, Comparison):
        yield from (metric.key for side in (leaf.left, leaf.right) for metric in metrics_in(side))
    else:
        yield leaf.signal


def parse_watch(text: str) -> Watch:
    """The condition that `text` says. Raises GateSyntax, a ValueError, with the position and the nearest spelling."""
    if len(text) > MAX_LENGTH:
        raise GateSyntax(text, MAX_LENGTH, f"a condition has at most {MAX_LENGTH} characters, this one has {len(text)}")
    reader = _Reader(text, tokens(text))
    any_of = [reader.together()]
    while reader.take("or"):
        any_of.append(reader.together())
    for_s = reader.duration() if reader.take("for") else 0.0
    if reader.token.kind != "end":
        reader.fail(f"expected 'and', 'or', 'for' or the end, found {reader.token.text!r}", ("and", "or", "for"))
    return Watch(text.strip(), tuple(any_of), for_s)


class _Reader(Reader):
    stops = ("and", "or", "for")

    def together(self) -> tuple[Leaf, ...]:
        leaves = [*self.leaf()]
        while self.take("and"):
            leaves += self.leaf()
        return tuple(leaves)

    def leaf(self) -> tuple[Leaf, ...]:
        if self.token.text == "worse_than":
            return (self.worse(),)
        following = self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        if self.token.kind == "name" and (following.kind == "end" or following.text in self.stops):
            return (Alarm(self.metric_name().text),)
        found = self.comparison(0)
        return cast("tuple[Leaf, ...]", found.parts) if isinstance(found, AllOf) else (cast(Comparison, found),)

    def worse(self) -> Worse:
        self.expect("worse_than")
        self.expect("(")
        if not self.take("champion"):
            self.fail(f"expected 'champion', found {self.token.text!r}", ("champion",))
        self.expect(",")
        signal = self.metric_name()
        if signal.text not in COMPARABLE:
            self.fail(f"{signal.text!r} cannot be compared request by request (can be: {', '.join(COMPARABLE)})", COMPARABLE, signal)
        margin = 0.0
        if self.take(","):
            self.expect("margin")
            self.expect("=")
            self.endings = ()
            margin = self.number()
        self.expect(")")
        return Worse(signal.text, margin)

    def duration(self) -> float:
        number, unit = self.token, self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        if number.kind != "number" or unit.text not in _DURATIONS:
            self.fail(f"expected a duration such as 10m, found {number.text!r}", token=number if number.kind != "number" else unit)
        self.at += 2
        return float(number.text) * _DURATIONS[unit.text]
