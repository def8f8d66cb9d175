"""Whole numbers from one bound to another, as a grammar over their digits."""

from __future__ import annotations

from penstock.core.errors import BadInput
from penstock.engines.constraints.rules import Expression, characters, either, literal, repeated, sequence

DIGITS = 18  # of a number without a bound


def between(low: int | None, high: int | None, place: str) -> Expression:
    """Numbers from `low` to `high`, both included; a side without a bound has at most 18 digits."""
    least, most = -(10**DIGITS) + 1 if low is None else low, 10**DIGITS - 1 if high is None else high
    if least > most:
        raise BadInput(f"the JSON schema has no whole number from {least} to {most} at {place}")
    parts = []
    if least < 0:
        parts.append(sequence([literal("-"), _natural(max(1, -most), -least)]))
    if most >= 0:
        parts.append(_natural(max(0, least), most))
    return either(parts)


def _natural(low: int, high: int) -> Expression:
    """Numbers without a sign and without leading zeros."""
    parts = []
    while low <= high:
        top = min(high, 10 ** len(str(low)) - 1)
        parts.append(_same_length(str(low), str(top)))
        low = top + 1
    return either(parts)


def _same_length(low: str, high: str) -> Expression:
    if not low:
        return literal("")
    rest = len(low) - 1
    if low[1:] == "0" * rest and high[1:] == "9" * rest:
        return sequence([_digits(low[0], high[0]), repeated(_digits("0", "9"), rest, rest)])
    if low[0] == high[0]:
        return sequence([literal(low[0]), _same_length(low[1:], high[1:])])
    parts = [sequence([literal(low[0]), _same_length(low[1:], "9" * rest)])]
    if int(high[0]) - int(low[0]) > 1:
        middle = _digits(str(int(low[0]) + 1), str(int(high[0]) - 1))
        parts.append(sequence([middle, repeated(_digits("0", "9"), rest, rest)]))
    parts.append(sequence([literal(high[0]), _same_length("0" * rest, high[1:])]))
    return either(parts)


def _digits(low: str, high: str) -> Expression:
    return characters([(ord(low), ord(high))])
