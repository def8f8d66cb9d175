"""A text with its findings replaced by their kinds."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.screening.contract import Finding


def masked(text: str, found: Iterable[Finding]) -> str:
    """`found` in order and not overlapping; each becomes its kind in brackets, such as `[EMAIL]`."""
    parts, last = [], 0
    for finding in found:
        parts += [text[last : finding.start], placeholder(finding)]
        last = finding.end
    return "".join([*parts, text[last:]]) if parts else text


def placeholder(finding: Finding) -> str:
    return f"[{finding.kind.upper()}]"
