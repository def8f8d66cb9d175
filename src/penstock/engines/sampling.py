"""A request's values as OpenVINO GenAI takes them."""

from __future__ import annotations

import os
from typing import Any

from penstock.engines.contract import GenerateRequest
from penstock.engines.wording import Wording

MOST_SEEDS = 1 << 64


def samplings(request: GenerateRequest, room: int, wording: Wording, grammar: str | None) -> list[Any]:
    """A GenerationConfig for each of the request's answers, each of at most `room` tokens; answer i has the seed `seed + i`."""
    first = int.from_bytes(os.urandom(6), "big") if request.seed is None else request.seed
    return [_sampling(request, room, wording, (first + at) % MOST_SEEDS, grammar) for at in range(request.n)]


def _sampling(request: GenerateRequest, room: int, wording: Wording, seed: int, grammar: str | None) -> Any:
    import openvino_genai

    settings = openvino_genai.GenerationConfig()
    settings.max_new_tokens = room
    settings.apply_chat_template = False
    if wording.ends:
        settings.eos_token_id = min(wording.ends)
        settings.stop_token_ids = set(wording.ends)
    settings.do_sample = request.temperature > 0
    if settings.do_sample:
        settings.temperature = request.temperature
        settings.top_p = request.top_p
        settings.top_k = request.top_k or (1 << 31)
        settings.rng_seed = seed
    settings.presence_penalty = request.presence_penalty
    settings.frequency_penalty = request.frequency_penalty
    settings.repetition_penalty = request.repetition_penalty
    settings.logprobs = 1 if request.logprobs == 0 else 0  # the runtime tells the chosen token's only
    if grammar is not None:
        settings.structured_output_config = openvino_genai.StructuredOutputConfig(grammar=grammar)
    return settings
