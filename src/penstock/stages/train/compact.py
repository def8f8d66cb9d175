"""A token embedding cut down to the tokens that the data holds, for the time of training.

The gradient of an unseen token's row is zero, so AdamW would leave it where it is (weight decay apart): cutting changes no result
and spares most of the optimizer's work and of each checkpoint on a small data set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


@dataclass(frozen=True, slots=True)
class Cut:
    """`kept` are the token numbers that stay, ascending; row i of the cut embedding is token kept[i]."""

    embedding: nn.Embedding
    whole: torch.Tensor  # (V, H) as it was
    kept: NDArray[np.int64]

    def encode(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self.kept, tokens)

    def undo(self) -> None:
        """Writes the trained rows back among the others."""
        rows = self.whole.clone()
        rows[torch.from_numpy(self.kept)] = self.embedding.weight.data.to(rows)
        self.embedding.weight.data = rows
        self.embedding.num_embeddings = len(rows)


def cut(embedding: nn.Embedding, tokens: NDArray[np.int64], highest_special: int) -> Cut:
    """Keeps every token of `tokens` and all up to `highest_special`, so that special tokens keep their numbers."""
    kept = np.unique(np.concatenate([np.arange(highest_special + 1), tokens]))
    whole = embedding.weight.data
    embedding.weight.data = whole[torch.from_numpy(kept)].clone()
    embedding.num_embeddings = len(kept)
    return Cut(embedding, whole, kept)
