"""One graph in memory and what runs on it: the pipeline that is stepped, and the scorer, compiled when first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from penstock.engines.gathering import Gatherer, Item
from penstock.engines.scorer import Scorer
from penstock.engines.stepping import Stepper
from penstock.engines.tally import Tally
from penstock.engines.token_scores import Passage, TokenScore


class Lane:
    """The base model's, or one adapter's; answers keep the lane that they began on."""

    def __init__(self, pipeline: Any, scorer: Callable[[], Scorer], tally: Tally, name: str) -> None:
        self.pipeline, self._make_scorer = pipeline, scorer
        self.users = 0  # answers that are on it; changed on event loops only
        self.stepper = Stepper(pipeline, tally, name)
        self._gatherer: Gatherer[list[TokenScore]] = Gatherer(self._work, workers=1, max_batch=32, name=f"{name}-score")

    async def score(self, passages: Sequence[Passage]) -> list[list[TokenScore]]:
        """As token_scores.score_tokens, batched with what others ask. Raises EngineClosed."""
        return await self._gatherer.submit(passages, None) if passages else []

    async def close(self) -> None:
        """Ends all that runs with EngineClosed. A second call does nothing."""
        await asyncio.to_thread(self.stepper.close)
        await asyncio.to_thread(self._gatherer.close)

    @cached_property
    def _scorer(self) -> Scorer:
        return self._make_scorer()

    def _work(self, _worker: int, items: list[Item[list[TokenScore]]]) -> Sequence[list[TokenScore]]:
        return self._scorer.score([item.text for item in items])
