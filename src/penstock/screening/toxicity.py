"""Toxicity: insults, slurs and hate in English short texts, by the linear model `models/toxicity.bin`.

What it was trained on (American tweets of 2017) it knows; irony, other languages and polite hostility it does not. Measured limits, and how
often it is wrong about texts that only name a group of people: docs/explanation/guardrails.md.
"""

from __future__ import annotations

from typing import ClassVar

from penstock.screening.contract import Finding, last_word
from penstock.screening.linear import load

CHECK = "toxicity"


class Toxicity:
    """The check `toxicity`. `threshold` 0–1; default: the one the model was given for at most about 1 % of ordinary texts."""

    name = CHECK
    whole: ClassVar[bool] = True
    reach: ClassVar[int] = 192

    def __init__(self, threshold: float | None = None) -> None:
        self._model = load(CHECK)
        self.threshold = self._model.threshold if threshold is None else threshold

    def find(self, text: str) -> list[Finding]:
        score = self.score(text)
        return [Finding(CHECK, CHECK, *self._model.peak(text), score)] if score >= max(self.threshold, 1e-9) else []

    def score(self, text: str) -> float:
        """0–1."""
        return self._model.score(text)

    def opening(self, text: str) -> int:
        return last_word(text)
