"""The likelihood of a text under a decoder: windows of its context that overlap by half.

As in transformers' guide to perplexity of fixed-length models: each token is predicted once, from at least half a context
where the text has that much before it. The first token is predicted only when the tokenizer puts a beginning before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from penstock.engines.contract import Scored
from penstock.engines.token_scores import Passage, TokenScore
from penstock.engines.wording import Wording


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens `begin`..`end` are read; those from `first` on are predicted."""

    begin: int
    end: int
    first: int


def windows(tokens: int, context: int) -> Iterator[Window]:
    """Windows that predict tokens 1..`tokens`-1 once each."""
    stride = max(1, context // 2)
    first = 1
    for begin in range(0, tokens, stride):
        end = min(begin + context, tokens)
        if first < end:
            yield Window(begin, end, first)
        first = end
        if end == tokens:
            return


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as the passages that its score is the sum of; the counts of Scored."""

    passages: Sequence[Passage]
    tokens: int
    characters: int

    def scored(self, scores: Sequence[Sequence[TokenScore]]) -> Scored:
        """`scores` are those of the passages."""
        return Scored(-sum(one.logprob or 0.0 for passage in scores for one in passage), self.tokens, self.characters)


def read_text(text: str, wording: Wording) -> Reading:
    encoded = wording.tokenizer.encode(text)
    parts = windows(len(encoded.ids), wording.max_length)
    passages = [Passage(encoded.ids[one.begin : one.end], one.first - one.begin) for one in parts]
    return Reading(passages, max(0, len(encoded.ids) - 1), _characters(text, encoded.offsets))


def _characters(text: str, offsets: Sequence[tuple[int, int]]) -> int:
    """Characters behind the first token, which nothing predicts; a beginning put there by the tokenizer covers none."""
    return len(text) - (offsets[0][1] if offsets else len(text))
