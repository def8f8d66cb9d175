"""The next token out of logits, on the CPU in numpy: penalties, then greedy or sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.engines.contract import GenerateRequest

if TYPE_CHECKING:
    import numpy as np


def pick(logits: np.ndarray, request: GenerateRequest, made: Sequence[int], chance: np.random.Generator) -> int:
    """A token by temperature, then top-k, then top-p (Holtzman et al. 2020), from `logits` (vocabulary,) after `made`."""
    import numpy as np

    penalised = _penalised(logits.astype(np.float64), request, made)
    if request.temperature == 0:
        return int(penalised.argmax())
    order = np.argsort(-penalised, kind="stable")[: request.top_k]
    values = penalised[order] / request.temperature
    shares = np.exp(values - values[0])
    shares /= shares.sum()
    shares = np.where(np.cumsum(shares) - shares < request.top_p, shares, 0.0)
    return int(order[chance.choice(len(shares), p=shares / shares.sum())])


def _penalised(logits: np.ndarray, request: GenerateRequest, made: Sequence[int]) -> np.ndarray:
    """Repetition (Keskar et al. 2019); presence and frequency as OpenAI defines them."""
    import numpy as np

    if not made:
        return logits
    tokens, counts = np.unique(np.asarray(made), return_counts=True)
    seen, factor = logits[tokens], request.repetition_penalty
    logits[tokens] = np.where(seen < 0, seen * factor, seen / factor) - request.presence_penalty - request.frequency_penalty * counts
    return logits
