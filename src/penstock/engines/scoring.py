"""The likelihood of a text under a decoder: windows of its context that overlap by half.

As in transformers' guide to perplexity of fixed-length models: each token is predicted once, from at least half a context
where the text has that much before it. The first token is predicted only when the tokenizer puts a beginning before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.engines.contract import Scored
from penstock.engines.wording import Wording

if TYPE_CHECKING:
    import numpy as np

LOGITS_BYTES = 64 << 20  # of one forward pass


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


def score_texts(
    texts: Sequence[str], wording: Wording, vocabulary: int, forward: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> list[Scored]:
    """`forward` turns ids and mask (rows, tokens) into logits (rows, tokens, vocabulary); rows are padded on the right."""
    import numpy as np

    encoded = [wording.tokenizer.encode(text) for text in texts]
    todo = [(row, window) for row, one in enumerate(encoded) for window in windows(len(one.ids), wording.max_length)]
    todo.sort(key=lambda item: item[1].end - item[1].begin)
    nats = [0.0] * len(texts)
    while todo:
        longest = todo[-1][1].end - todo[-1][1].begin
        group = [todo.pop() for _ in range(min(len(todo), max(1, LOGITS_BYTES // (4 * longest * vocabulary))))]
        ids, mask = np.zeros((len(group), longest), np.int64), np.zeros((len(group), longest), np.int64)
        for at, (row, window) in enumerate(group):
            size = window.end - window.begin
            ids[at, :size], mask[at, :size] = encoded[row].ids[window.begin : window.end], 1
        logits = forward(ids, mask)
        for at, (row, window) in enumerate(group):
            targets = np.asarray(encoded[row].ids[window.first : window.end])
            nats[row] += _nats(logits[at, window.first - 1 - window.begin : window.end - 1 - window.begin], targets)
    return [
        Scored(total, max(0, len(one.ids) - 1), _characters(text, one.offsets))
        for total, one, text in zip(nats, encoded, texts, strict=True)
    ]


def _nats(logits: np.ndarray, targets: np.ndarray) -> float:
    """Sum of -ln p of `targets` (tokens,) under `logits` (tokens, vocabulary), added in double precision."""
    import numpy as np

    wide = logits.astype(np.float64)
    top = wide.max(axis=-1)
    normaliser = top + np.log(np.exp(wide - top[:, None]).sum(axis=-1))
    return float((normaliser - wide[np.arange(len(targets)), targets]).sum())


def _characters(text: str, offsets: Sequence[tuple[int, int]]) -> int:
    """Characters behind the first token, which nothing predicts; a beginning put there by the tokenizer covers none."""
    return len(text) - (offsets[0][1] if offsets else len(text))
