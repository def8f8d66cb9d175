"""Guardrails of a deployment: each request and answer goes through its checks, and what is found is blocked, masked or flagged.

`Guards` holds what a deployment's snapshot asks for; the gateway makes one per table of routes. What is looked for lives in `screening/`.
Messages and flags name checks, kinds and counts, never the text. Flags look like `input:personal_data:mask:email=2,phone=1` or
`output:toxicity:flag:score=0.93`.

Cost: `input` runs on the caller's thread. Above `INLINE_CHARS` characters (`input_size`) run it in an executor: long texts are examined in
slices, so that the event loop gets its turns in between.
Not covered: images, audio and files in messages; descriptions of tools; the classes that /v1/classify answers with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.screening.contract import Finding
from penstock.screening.masking import masked
from penstock.screening.table import open_check
from penstock.serving.errors import RequestRefused
from penstock.serving.guard_findings import Rail, Tally
from penstock.serving.guard_stream import OutputGuard
from penstock.serving.guard_texts import Unreadable, over_input, size
from penstock.serving.snapshot import Guard

INLINE_CHARS = 8_192  # characters that may be checked on the event loop: some milliseconds with all checks (benchmarks/guardrails.py)
_GENERATING = ("/v1/chat/completions", "/v1/completions")
_OWN_WORDS = ("system", "developer")  # roles whose text the application wrote: instructions there are no injection


@dataclass(frozen=True, slots=True)
class Checked:
    """`value` is what goes on to the replica: the same object where nothing changed. `seconds` is what checking took."""

    value: Mapping[str, Any]
    changed: bool
    flags: tuple[str, ...]
    seconds: float


class RequestBlocked(RequestRefused):
    """400 `content_blocked`; `flags` and `seconds` are for the record."""

    def __init__(self, check: str, flags: tuple[str, ...], seconds: float) -> None:
        what = check.replace("_", " ")
        super().__init__(400, f"The request was refused by the check for {what} of this deployment", "content_blocked")
        self.flags, self.seconds = flags, seconds


class Guards:
    """The guards of one deployment, in the order of its file. Raises BadInput for unknown checks and kinds."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        rails = [
            (guard.on, Rail(guard.action, open_check(guard.check, threshold=guard.threshold, types=guard.types, words=guard.words)))
            for guard in guards
        ]
        self._input = tuple(rail for on, rail in rails if on != "output")
        self._output = tuple(rail for on, rail in rails if on != "input")

    @property
    def looks_at_input(self) -> bool:
        return bool(self._input)

    def looks_at_output(self, path: str) -> bool:
        return bool(self._output) and path in _GENERATING

    def input_size(self, path: str, value: Mapping[str, Any]) -> int:
        """Characters that `input` would look at; cheap."""
        return size(path, value) if self._input else 0

    def input(self, path: str, value: Mapping[str, Any]) -> Checked:
        """The request as it may go on. Raises RequestBlocked; RequestRefused (400) for token ids, which cannot be checked."""
        start = time.perf_counter()
        tally, found = Tally("input", self._input), value
        for rail in self._input:
            try:
                found = over_input(path, found, _Edit(rail, tally))
            except Unreadable as error:
                if rail.action != "flag":
                    raise RequestRefused(
                        400, f"{error.param} must be text: this deployment checks it", "invalid_value", error.param
                    ) from None
            if rail.action == "block" and tally.has(rail):
                raise RequestBlocked(rail.check.name, tally.flags(), time.perf_counter() - start)
        return Checked(found, found is not value, tally.flags(), time.perf_counter() - start)

    def output(self, path: str, stream: bool) -> OutputGuard | None:
        """What the answer of one request goes through; None when no guard looks at it."""
        return OutputGuard(self._output, stream) if self.looks_at_output(path) else None


class _Edit:
    """What `over_input` does with each text for one rail."""

    def __init__(self, rail: Rail, tally: Tally) -> None:
        self._rail, self._tally = rail, tally

    def __call__(self, text: str, role: str) -> str:
        check = self._rail.check
        if check.whole and role in _OWN_WORDS:
            return text
        found: list[Finding] = check.find(text)
        if not found:
            return text
        self._tally.add(self._rail, found)
        return masked(text, found) if self._rail.action == "mask" else text
