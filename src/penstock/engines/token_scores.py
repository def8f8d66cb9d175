"""Log-probabilities of given tokens under a decoder, and of the likeliest tokens in their places, by forward passes over the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LOGITS_BYTES = 64 << 20  # of one forward pass
GROUP_TOKENS = 1 << 14  # of all rows of one batch, so that its keys and values stay small

Walk = Callable[["np.ndarray", "np.ndarray", int], Iterable[tuple[int, "np.ndarray"]]]


@dataclass(frozen=True, slots=True)
class Passage:
    """Tokens `first`.. of `ids` are scored, each given all before it; `top`: how many of the likeliest beside each."""

    ids: Sequence[int]
    first: int
    top: int = 0


@dataclass(frozen=True, slots=True)
class TokenScore:
    """Natural logarithm of a token's probability (None: nothing is before it); the likeliest (id, logprob), best first."""

    logprob: float | None
    top: Sequence[tuple[int, float]] = ()


def score_tokens(passages: Sequence[Passage], vocabulary: int, walk: Walk) -> list[list[TokenScore]]:
    """For each passage its tokens from `first` on; passages of like length share a batch.

    `walk(ids, mask, size)` takes rows (rows, tokens) padded on the right and yields, for pieces of at most `size` tokens in
    order, the place where the piece begins and its logits (rows, piece, vocabulary).
    """
    found: list[list[TokenScore]] = [[TokenScore(None)] if one.first == 0 and one.ids else [] for one in passages]
    order = sorted((at for at in range(len(passages)) if len(passages[at].ids) > 1), key=lambda at: len(passages[at].ids))
    while order:
        longest = len(passages[order[-1]].ids)
        rows = min(len(order), max(1, min(GROUP_TOKENS // longest, LOGITS_BYTES // (4 * vocabulary * min(longest, 64)))))
        group = [order.pop() for _ in range(rows)]
        _score_group([passages[at] for at in group], [found[at] for at in group], vocabulary, walk)
    return found


def _score_group(passages: Sequence[Passage], found: Sequence[list[TokenScore]], vocabulary: int, walk: Walk) -> None:
    import numpy as np

    longest = max(len(one.ids) for one in passages) - 1  # the last token of a passage predicts nothing that is asked for
    ids, mask = np.zeros((len(passages), longest), np.int64), np.zeros((len(passages), longest), np.int64)
    for row, one in enumerate(passages):
        size = len(one.ids) - 1
        ids[row, :size], mask[row, :size] = one.ids[:-1], 1
    for begin, logits in walk(ids, mask, max(1, LOGITS_BYTES // (4 * vocabulary * len(passages)))):
        for row, one in enumerate(passages):
            low, high = max(one.first, begin + 1), min(len(one.ids), begin + 1 + logits.shape[1])
            if low < high:
                found[row].extend(scores_of(logits[row, low - 1 - begin : high - 1 - begin], one.ids[low:high], one.top))


def scores_of(logits: np.ndarray, targets: Sequence[int], top: int) -> list[TokenScore]:
    """Of `targets` (tokens,) under `logits` (tokens, vocabulary), normalised in double precision."""
    import numpy as np

    wide = logits.astype(np.float64)
    most = wide.max(axis=-1, keepdims=True)
    wide -= most + np.log(np.exp(wide - most).sum(axis=-1, keepdims=True))
    chosen = wide[np.arange(len(targets)), np.asarray(targets)].tolist()
    if top == 0:
        return [TokenScore(value) for value in chosen]
    likeliest = np.argpartition(-wide, min(top, wide.shape[1]) - 1, axis=-1)[:, :top]
    values = np.take_along_axis(wide, likeliest, axis=-1)
    order = np.lexsort((likeliest, -values), axis=-1)
    best = zip(np.take_along_axis(likeliest, order, axis=-1).tolist(), np.take_along_axis(values, order, axis=-1).tolist(), strict=True)
    return [TokenScore(value, list(zip(names, numbers, strict=True))) for value, (names, numbers) in zip(chosen, best, strict=True)]
