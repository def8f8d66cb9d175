"""One text that grows: what of it may go on now, what must wait because a finding may have begun.

Nothing of a finding of a pattern is let through before it is masked or blocked. For properties of a whole text (toxicity, injection) it is
the word that tips the score that is never let through; what came before it went out already. At most about `2 × HOLD` characters wait.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from penstock.screening.contract import HOLD, Finding
from penstock.screening.masking import placeholder
from penstock.serving.guard_findings import Rail, Tally

_MOST = 2 * HOLD
_WORD = re.compile(r"\S*")
_UNQUOTED = re.compile(r"[:,\[]\s*\Z")


class Blocked(Exception):
    """A rail that blocks found something."""


class Strand:
    """`json` is set for text that is JSON: a number that is masked becomes a string there."""

    def __init__(self, rails: Sequence[Rail], tally: Tally, json: bool = False) -> None:
        self._rails, self._tally, self._json = rails, tally, json
        self._reach = max(rail.check.reach for rail in rails)
        self._before = self._waiting = ""
        self._swallow = False  # the rest of a finding that was too long to wait for is on its way

    def feed(self, text: str) -> str:
        """Raises Blocked."""
        self._waiting += text
        if self._swallow:
            self._waiting = self._waiting[_WORD.match(self._waiting).end() :]  # type: ignore[union-attr]
            if not self._waiting:
                return ""
            self._swallow = False
        whole = self._before + self._waiting
        cut = max(min(rail.check.opening(whole) for rail in self._rails), len(self._before))
        return self._release(whole, cut) if cut > len(self._before) else ""

    def end(self) -> str:
        """What still waits. Raises Blocked."""
        whole = self._before + self._waiting
        return self._release(whole, len(whole)) if self._waiting else ""

    def _release(self, whole: str, cut: int) -> str:
        start = len(self._before)
        found = [(f, rail) for rail in self._rails if not rail.check.whole for f in rail.check.find(whole) if f.end > start]
        spanning = min((f.start for f, _ in found if start <= f.start < cut < f.end), default=cut)
        if len(whole) - spanning > _MOST:
            cut, self._swallow = len(whole), any(f.end == len(whole) for f, _ in found)
        else:
            cut = spanning
        ready = [(f, rail) for f, rail in found if f.start >= start and f.end <= cut]
        self._judge(whole[:cut], ready)
        gone = self._masked(whole, start, cut, [f for f, rail in ready if rail.action == "mask"])
        self._before, self._waiting = whole[max(0, cut - self._reach) : cut], whole[cut:]
        return gone

    def _judge(self, text: str, ready: list[tuple[Finding, Rail]]) -> None:
        for finding, rail in ready:
            self._tally.add(rail, [finding])
        for rail in self._rails:
            if rail.check.whole and (found := [f for f in rail.check.find(text) if f.end > len(self._before)]):
                self._tally.add(rail, found)
        if any(rail.action == "block" and self._tally.has(rail) for rail in self._rails):
            raise Blocked

    def _masked(self, whole: str, start: int, cut: int, found: list[Finding]) -> str:
        parts, last = [], start
        for finding in sorted(found, key=lambda f: (f.start, -f.end)):
            if finding.start >= last:
                mark = placeholder(finding)
                bare = self._json and _UNQUOTED.search(whole, 0, finding.start) is not None
                parts += [whole[last : finding.start], f'"{mark}"' if bare else mark]
                last = finding.end
        return "".join([*parts, whole[last:cut]])
