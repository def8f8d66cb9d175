"""Tokenised rows in flat arrays, and batches of rows of like length.

Each epoch is shuffled by its seed, cut into pools of many batches, sorted by length inside a pool, and the batches shuffled again: little
padding, and still a new company for each row in each epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

POOL_BATCHES = 32
PAD_MULTIPLE = 4


@dataclass(frozen=True, slots=True)
class Rows:
    """`tokens` of all rows one after the other; row i is tokens[starts[i]:starts[i + 1]]. `labels` is -1 where there is none."""

    tokens: NDArray[np.int64]
    starts: NDArray[np.int64]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, tokens: Sequence[Sequence[int]], labels: Sequence[int]) -> Rows:
        lengths = np.fromiter((len(row) for row in tokens), np.int64, len(tokens))
        flat = np.fromiter((token for row in tokens for token in row), np.int64, int(lengths.sum()))
        return cls(flat, np.concatenate([[0], np.cumsum(lengths)]), np.asarray(labels, np.int64))

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Batch:
    """`ids` and `mask` (B, L) int64, `labels` (B,) int64."""

    ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor


def grouped(lengths: NDArray[np.int64], batch: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Row numbers of each batch of an epoch; every row once, the last batch may be short."""
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    pool = batch * POOL_BATCHES
    pools = [order[i : i + pool] for i in range(0, len(order), pool)]
    order = np.concatenate([p[np.argsort(lengths[p], kind="stable")] for p in pools])
    batches = [order[i : i + batch] for i in range(0, len(order), batch)]
    return [batches[i] for i in random.permutation(len(batches))]


def by_length(lengths: NDArray[np.int64], batch: int) -> list[NDArray[np.int64]]:
    """Row numbers in batches for evaluation, shortest first."""
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + batch] for i in range(0, len(order), batch)]


def padded(rows: Rows, chosen: NDArray[np.int64], pad: int, limit: int) -> Batch:
    """The chosen rows side by side, padded to a multiple of PAD_MULTIPLE (at most `limit` tokens)."""
    lengths = rows.lengths[chosen]
    longest = int(lengths.max())
    width = max(longest, min(limit, -(-longest // PAD_MULTIPLE) * PAD_MULTIPLE))
    columns = np.arange(width)
    mask = columns < lengths[:, None]
    source = np.where(mask, rows.starts[chosen][:, None] + columns, 0)
    ids = np.where(mask, rows.tokens[source], pad)
    return Batch(torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64)), torch.from_numpy(rows.labels[chosen]))
