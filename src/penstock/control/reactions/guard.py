"""Whether a reaction may act now: cool-down, how many at a time, money, and an end to trying what comes to nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from penstock.spec.react import Reaction

ENDED = frozenset({"done", "failed", "refused", "declined", "rehearsed"})
FRUITLESS = frozenset({"failed", "refused", "declined"})


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier reaction of the same rule. `cost_usd` is what it cost so far."""

    phase: str
    created_at: float
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`go`: act; `ask`: a person decides first; `wait`: not now. `says`: why, in words. `until`: when a `wait` may be over."""

    may: Literal["go", "ask", "wait"]
    says: str
    until: float | None = None


def judge(rule: Reaction, past: Sequence[Past], now: float, estimate_usd: float = 0.0) -> Verdict:
    """`past`: newest first. `estimate_usd`: what acting once more is expected to cost."""
    active = [one for one in past if one.phase not in ENDED]
    if len(active) >= rule.concurrency:
        return Verdict("wait", f"{len(active)} under way, at most {rule.concurrency} at a time")
    if past and now < (rest := max(one.created_at for one in past) + rule.cooldown):
        return Verdict("wait", f"it rests for {rule.cooldown:g} s after each time", rest)
    if rule.budget is not None:
        spent = sum(one.cost_usd for one in past if one.created_at >= month_of(now))
        if spent + estimate_usd > rule.budget:
            says = f"{spent:.2f} of {rule.budget:.2f} USD are spent this month, and once more is about {estimate_usd:.2f}"
            return Verdict("wait", says, next_month(now))
    fruitless = streak(past)
    if fruitless >= rule.attempts:
        return Verdict("ask", f"it came to nothing {fruitless} times in a row")
    return Verdict("go", "")


def streak(past: Sequence[Past]) -> int:
    """How many of the newest that ended came to nothing, one after another."""
    count = 0
    for one in past:
        if one.phase in FRUITLESS:
            count += 1
        elif one.phase == "done":
            break
    return count


def month_of(now: float) -> float:
    """When the calendar month (UTC) of an instant began."""
    there = datetime.fromtimestamp(now, UTC)
    return datetime(there.year, there.month, 1, tzinfo=UTC).timestamp()


def next_month(now: float) -> float:
    there = datetime.fromtimestamp(now, UTC)
    year, month = (there.year + 1, 1) if there.month == 12 else (there.year, there.month + 1)
    return datetime(year, month, 1, tzinfo=UTC).timestamp()
