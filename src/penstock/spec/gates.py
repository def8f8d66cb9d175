"""Gates as written: `accuracy >= 0.90`, `not_worse_than(champion, accuracy, margin=0.005)` → frozen records.

Grammar, by recursive descent (nothing is ever evaluated as Python; length and depth are bounded):

    gate       := all ("or" all)*
    all        := condition ("and" condition)*
    condition  := "(" gate ")" | test | sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)+
    test       := ("not_worse_than" | "better_than") "(" "champion" "," METRIC ("," NAME "=" NUMBER)* ")"
    sum        := product (("+" | "-") product)*
    product    := value (("*" | "/") value)*
    value      := NUMBER [UNIT] | METRIC | ("low" | "high") "(" METRIC ")" | "-" value | "(" sum ")"

`90%` is 0.9. A time or size (`20ms`, `5 MB`) takes the unit that its comparison's metrics name by their ending (`_ms`, `_s`, `_bytes`).
Judging is in control/gates.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from penstock.spec.conditions import (
    AllOf,
    AnyOf,
    Arithmetic,
    ChampionTest,
    Comparison,
    Condition,
    Gate,
    Metric,
    Number,
    Sign,
    Value,
    metrics_in,
    metrics_used,
    needs_champion,
)
from penstock.spec.gate_tokens import Cursor, GateSyntax, Token, tokens

__all__ = [
    "AllOf",
    "AnyOf",
    "Arithmetic",
    "ChampionTest",
    "Comparison",
    "Condition",
    "Gate",
    "GateSyntax",
    "Metric",
    "Number",
    "Value",
    "metrics_in",
    "metrics_used",
    "needs_champion",
    "parse_gate",
]

MAX_LENGTH = 1000  # characters

_TIMES = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}  # seconds
_SIZES = {"B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}  # bytes
_ENDINGS: Mapping[str, tuple[str, float]] = {"_ms": ("time", 0.001), "_s": ("time", 1.0), "_bytes": ("size", 1.0)}
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
PAIRED_METRICS = (
    "accuracy",
    "precision",
    "recall",
    "macro_f1",
    "micro_f1",
    "weighted_f1",
    "calibration.ece",
    "perplexity",
    "nats_per_character",
    "bits_per_character",
)
FUNCTIONS = ("not_worse_than", "better_than", "low", "high")


def parse_gate(text: str) -> Gate:
    """The gate that `text` says. Raises GateSyntax, a ValueError, with the position and the nearest spelling."""
    if len(text) > MAX_LENGTH:
        raise GateSyntax(text, MAX_LENGTH, f"a gate has at most {MAX_LENGTH} characters, this one has {len(text)}; write several gates")
    reader = Reader(text, tokens(text))
    condition = reader.gate(0)
    if reader.token.kind != "end":
        reader.fail(f"expected 'and', 'or' or the end, found {reader.token.text!r}", ("and", "or"))
    return Gate(text.strip(), condition)


class Reader(Cursor):
    """Recursive descent; `depth` counts nesting so that hostile texts stop with a reason, not a stack overflow."""

    stops: tuple[str, ...] = ("and", "or")  # words that end a comparison
    endings: tuple[str, ...] = ()  # unit endings of the metrics of the comparison being read
    money_ahead = False  # whether one of them is an amount of money

    def gate(self, depth: int) -> Condition:
        parts = [self.all(depth)]
        while self.take("or"):
            parts.append(self.all(depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def all(self, depth: int) -> Condition:
        parts = [self.condition(depth)]
        while self.take("and"):
            parts.append(self.condition(depth))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def condition(self, depth: int) -> Condition:
        self.bound(depth)
        if self.token.text in ("not_worse_than", "better_than"):
            return self.test()
        if self.token.text == "(" and self.opens_a_gate():
            self.expect("(")
            inner = self.gate(depth + 1)
            self.expect(")")
            return inner
        return self.comparison(depth)

    def opens_a_gate(self) -> bool:
        """Whether the bracket here holds a comparison, a test or a connective rather than arithmetic."""
        level = 0
        for token in self.tokens[self.at :]:
            level += (token.text == "(") - (token.text == ")")
            if level == 0:
                return False
            if token.text in (*_COMPARISONS, "and", "or", "not_worse_than", "better_than"):
                return True
        return False

    def comparison(self, depth: int) -> Condition:
        start, signs = self.token, []
        self.endings = self.endings_ahead()
        sides = [self.sum(depth)]
        while sign := self.take(*_COMPARISONS):
            signs.append(sign.text)
            sides.append(self.sum(depth))
        if not signs:
            hint = "; compare with '=='" if self.token.text == "=" else ""
            self.fail(f"expected a comparison (one of {' '.join(_COMPARISONS)}), found {self.token.text!r}{hint}", ("==",))
        if not any(True for side in sides for _ in metrics_in(side)):
            self.fail("a comparison names at least one metric", token=start)
        parts = tuple(Comparison(a, cast(Sign, s), b) for a, s, b in zip(sides, signs, sides[1:], strict=False))
        return parts[0] if len(parts) == 1 else AllOf(parts)

    def endings_ahead(self) -> tuple[str, ...]:
        """Unit endings of the metrics from here to the end of this comparison."""
        names: list[str] = []
        self.money_ahead = False
        for token in self.tokens[self.at :]:
            if token.text in self.stops:
                break
            if token.kind == "name":
                names += [ending for ending in _ENDINGS if token.text.endswith(ending)][:1]
                self.money_ahead |= token.text.startswith("cost")
        return tuple(dict.fromkeys(names))

    def sum(self, depth: int) -> Value:
        value = self.product(depth)
        while sign := self.take("+", "-"):
            self.bound(depth := depth + 1)
            value = Arithmetic("+" if sign.text == "+" else "-", value, self.product(depth))
        return value

    def product(self, depth: int) -> Value:
        value = self.value(depth)
        while sign := self.take("*", "/"):
            self.bound(depth := depth + 1)
            value = Arithmetic("*" if sign.text == "*" else "/", value, self.value(depth))
        return value

    def value(self, depth: int) -> Value:
        self.bound(depth)
        if self.token.kind == "number":
            return Number(self.number())
        if self.take("-"):
            inner = self.value(depth + 1)
            return Number(-inner.value) if isinstance(inner, Number) else Arithmetic("-", Number(0.0), inner)
        if self.take("("):
            inner = self.sum(depth + 1)
            self.expect(")")
            return inner
        name = self.token
        if name.kind != "name" or name.text in ("and", "or", "not"):
            self.fail(f"expected a number or a metric, found {name.text!r}")
        self.at += 1
        return self.interval_end(name) if self.token.text == "(" else Metric(name.text)

    def interval_end(self, function: Token) -> Metric:
        if function.text not in ("low", "high"):
            wrong = "is a gate of its own: it gives yes or no, not a number" if function.text in FUNCTIONS else "is not a gate function"
            self.fail(f"{function.text!r} {wrong} (known: {', '.join(FUNCTIONS)})", FUNCTIONS, function)
        self.expect("(")
        metric = self.metric_name()
        self.expect(")")
        return Metric(metric.text, "low" if function.text == "low" else "high")

    def number(self) -> float:
        """The number here, in the unit of its comparison where it has a unit of its own."""
        token = self.token
        value = float(token.text)
        if not math.isfinite(value):
            self.fail(f"{token.text!r} is too large")
        self.at += 1
        if self.take("%"):
            return value / 100
        unit = self.token
        if unit.kind != "name" or unit.text in self.stops:
            return value
        known = {**{u: ("time", scale) for u, scale in _TIMES.items()}, **{u: ("size", scale) for u, scale in _SIZES.items()}}
        known |= {"USD": ("money", 1.0)}
        if unit.text not in known:
            self.fail(f"no unit is called {unit.text!r} (known: %, {', '.join(known)})", (*known, *self.stops))
        self.at += 1
        return value * self.scale(token, unit, *known[unit.text])

    def scale(self, number: Token, unit: Token, dimension: str, size: float) -> float:
        shown = f"{number.text}{unit.text}"
        if dimension == "money":
            if not self.money_ahead:
                self.fail(f"{shown} is an amount of money, but no metric beside it is one (their names begin with cost)", token=number)
            return 1.0
        if len(self.endings) > 1:
            self.fail(f"{shown} stands beside metrics of several units ({', '.join(self.endings)}); write a bare number", token=number)
        if not self.endings or _ENDINGS[self.endings[0]][0] != dimension:
            names = ", ".join(ending for ending, (kind, _) in _ENDINGS.items() if kind == dimension)
            self.fail(f"{shown} is a {dimension}, but no metric beside it is one (their names end in {names})", token=number)
        return size / _ENDINGS[self.endings[0]][1]

    def test(self) -> ChampionTest:
        kind = self.token
        self.at += 1
        self.expect("(")
        if not self.take("champion"):
            self.fail(f"expected 'champion', found {self.token.text!r}", ("champion",))
        self.expect(",")
        metric = self.metric_name()
        if not any(metric.text == name or metric.text.endswith(f".{name}") for name in PAIRED_METRICS):
            reason = f"{metric.text!r} cannot be tested row by row (can be: {', '.join(PAIRED_METRICS)})"
            self.fail(reason, PAIRED_METRICS, metric)
        options = self.options(kind.text)
        better = kind.text == "better_than"
        margin, confidence = options.get("margin", 0.0 if better else 0.01), options.get("confidence", 0.95)
        return ChampionTest("better_than" if better else "not_worse_than", metric.text, margin, confidence)

    def options(self, function: str) -> dict[str, float]:
        ranges = {"margin": (0.0, math.inf), "confidence": (0.5, 1.0)}
        given: dict[str, float] = {}
        self.endings = ()
        while self.take(","):
            name = self.token
            if name.text not in ranges or name.text in given:
                reason = "is given twice" if name.text in given else f"is not an option of {function} (known: {', '.join(ranges)})"
                self.fail(f"{name.text!r} {reason}", () if name.text in given else tuple(ranges))
            self.at += 1
            self.expect("=")
            number = self.token
            if number.kind != "number":
                self.fail(f"expected a number, found {number.text!r}")
            given[name.text] = self.number()
            low, high = ranges[name.text]
            if not low <= given[name.text] < high or (name.text == "confidence" and given[name.text] == low):
                reason = "0 or more" if name.text == "margin" else "above 0.5 and below 1"
                self.fail(f"{name.text} is {reason}, not {number.text}", token=number)
        self.expect(")")
        return given
