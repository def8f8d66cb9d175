"""Generation: perplexity and nats or bits per character from the likelihood of held-out text, with bootstrap intervals over blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from penstock.engines.contract import Scored
from penstock.stages.evaluate.intervals import Interval, percentile, resampled_sums


def metrics_of(scored: Sequence[Scored], resamples: int, level: float) -> dict[str, Interval]:
    """`perplexity` per token, `nats_per_character`, `bits_per_character`, over all blocks together; resamples draw whole blocks."""
    import numpy as np

    columns = np.array([[block.nats, block.tokens, block.characters] for block in scored], dtype=np.float64)  # (N, 3)
    sums = np.vstack([columns.sum(axis=0), resampled_sums(columns, resamples)])  # (1 + B, 3)
    nats = sums[:, 0] / sums[:, 2]
    values = {"perplexity": np.exp(sums[:, 0] / sums[:, 1]), "nats_per_character": nats, "bits_per_character": nats / math.log(2)}
    return {name: percentile(float(found[0]), found[1:], level) for name, found in values.items()}
