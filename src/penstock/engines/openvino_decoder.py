"""The decoder engine: text by continuous batching in OpenVINO GenAI, on the CPU, and the likelihood of texts by the same graph.

Not covered: labels and embeddings; a request for either is refused. Beams, penalties and adapters.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.errors import ArtifactCorrupt, BadInput
from penstock.engines.bundle_file import BundleFile
from penstock.engines.contract import Chunk, EngineInfo, GenerateRequest, Message, Request, Scored, ScoreRequest, Text
from penstock.engines.gathering import Gatherer, Item
from penstock.engines.openvino_graph import compile_graph, cores, precision_hint
from penstock.engines.requests import check_generate, check_text
from penstock.engines.scoring import score_texts
from penstock.engines.settings import settings_of
from penstock.engines.stepping import Step, Stepper, Ticket
from penstock.engines.tally import Tally
from penstock.engines.text_stream import TextStream
from penstock.engines.wording import Template, Wording

if TYPE_CHECKING:
    import numpy as np

NAME = "openvino-decoder"


@dataclass(frozen=True, slots=True)
class DecoderSettings:
    """`cache_gib` 0 lets the key-value cache grow with what runs; `threads` 0 is one a core."""

    max_sequences: int = 64
    max_batched_tokens: int = 512
    cache_gib: int = 0
    prefix_cache: bool = True
    threads: int = 0
    inference_precision: str = "auto"  # f32, bf16, or auto (the machine's fastest)
    cache_precision: str = "auto"  # of keys and values: f32, bf16, f16, u8, or auto


class OpenVinoDecoder:
    """Opens with `OpenVinoDecoder.open(folder, description, settings, digest)`."""

    info: EngineInfo

    def __init__(self, pipeline: Any, wording: Wording, info: EngineInfo, scorer: Callable[[], _Scorer]) -> None:
        self.info, self._wording, self._make_scorer = info, wording, scorer
        self._tally = Tally("requests", "prompt_tokens", "completion_tokens", "cancelled", "batches", "batch_items", "busy_s")
        self._pipeline = pipeline
        self._stepper = Stepper(pipeline, self._tally, NAME)
        self._scoring: Gatherer[Scored] = Gatherer(self._score, workers=1, max_batch=32, name=f"{NAME}-score")

    @classmethod
    def open(cls, folder: Path, description: BundleFile, settings: Mapping[str, Any], digest: str | None) -> OpenVinoDecoder:
        wanted = settings_of(DecoderSettings, settings, NAME)
        properties = _properties(wanted)
        pipeline = _pipeline(folder, wanted, properties)
        wording = Wording.read(folder, description.max_length, _template(pipeline))
        info = EngineInfo(NAME, description.task, digest, description.precision, description.max_length, (), asdict(wanted) | properties)
        return cls(pipeline, wording, info, lambda: _Scorer(folder, properties))

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Text chunks, or one Scored. Raises BadInput for other requests, bad values, or a prompt that leaves no room."""
        if isinstance(request, ScoreRequest):
            check_text(request.text, "the text")
            self._tally.add(requests=1)
            [scored] = await self._scoring.submit([request.text], None)
            yield scored
        elif isinstance(request, GenerateRequest):
            check_generate(request)
            async for chunk in self._texts(request):
                yield chunk
        else:
            raise BadInput(
                f"a decoder generates and scores text; it cannot serve a {type(request).__name__}",
                remedy="Send it to a text-classification model.",
            )

    def metrics(self) -> Mapping[str, float]:
        found = self._pipeline.get_metrics()
        cache = {"cache_bytes": float(found.cache_size_in_bytes), "cache_usage": float(found.cache_usage)}
        return {**self._tally.read(), **cache, "waiting": float(self._stepper.waiting), "running": float(self._stepper.running)}

    async def close(self) -> None:
        await asyncio.to_thread(self._stepper.close)
        await asyncio.to_thread(self._scoring.close)

    async def _texts(self, request: GenerateRequest) -> AsyncIterator[Text]:
        import numpy as np
        import openvino

        ids = self._wording.prompt_ids(request)
        room = min(request.max_tokens, self._wording.max_length - len(ids))
        ticket = Ticket(openvino.Tensor(np.asarray([ids], np.int64)), _sampling(request, room, self._wording), asyncio.get_running_loop())
        stream, made, done = TextStream(self._wording.decode, request.stop), 0, False
        self._tally.add(requests=1, prompt_tokens=len(ids))
        self._stepper.submit(ticket)
        try:
            while not done:
                step = await ticket.steps.get()
                if not isinstance(step, Step):
                    done = True
                    raise step
                made += len(step.ids)
                text = stream.feed(step.ids)
                if stream.stopped or step.finish_reason:
                    done = step.finish_reason is not None
                    text += "" if stream.stopped else stream.finish()
                    reason = "stop" if stream.stopped else step.finish_reason
                    yield Text(text, reason, len(ids), made)
                    return
                if text:
                    yield Text(text, None, len(ids), made)
        finally:
            if not done:
                self._tally.add(cancelled=0 if stream.stopped else 1)
                self._stepper.leave(ticket)

    @cached_property
    def _scorer(self) -> _Scorer:
        return self._make_scorer()

    def _score(self, _worker: int, items: list[Item[Scored]]) -> Sequence[Scored]:
        return score_texts([item.text for item in items], self._wording, self._scorer.vocabulary, self._scorer.forward)


class _Scorer:
    """Logits of the same graph, compiled when first asked for: the pipeline keeps its own to itself."""

    def __init__(self, folder: Path, properties: Mapping[str, str]) -> None:
        compiled = compile_graph(folder, properties)
        self._request = compiled.create_infer_request()
        self._inputs = [port.any_name for port in compiled.inputs]
        self.vocabulary = compiled.output("logits").get_partial_shape()[2].get_length()

    def forward(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Logits (rows, tokens, vocabulary) float32 of ids and mask (rows, tokens), padded on the right."""
        import numpy as np

        self._request.reset_state()
        given = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": np.maximum(mask.cumsum(axis=1) - 1, 0),
            "beam_idx": np.arange(len(ids), dtype=np.int32),
        }
        self._request.infer({name: given[name] for name in self._inputs})
        found: np.ndarray = self._request.get_tensor("logits").data
        return found


def _properties(wanted: DecoderSettings) -> dict[str, str]:
    if min(wanted.max_sequences, wanted.max_batched_tokens) < 1 or min(wanted.cache_gib, wanted.threads) < 0:
        raise BadInput(f"max_sequences and max_batched_tokens must be at least 1, cache_gib and threads at least 0; got {wanted}")
    if wanted.cache_precision not in ("auto", "f32", "bf16", "f16", "u8"):
        raise BadInput(f"cache_precision is {wanted.cache_precision!r}; it must be f32, bf16, f16, u8 or auto")
    threads = {"INFERENCE_NUM_THREADS": str(wanted.threads or cores())}
    cache = {} if wanted.cache_precision == "auto" else {"KV_CACHE_PRECISION": wanted.cache_precision}
    return {**threads, **precision_hint(wanted.inference_precision), **cache}


def _pipeline(folder: Path, wanted: DecoderSettings, properties: Mapping[str, str]) -> Any:
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_seqs = wanted.max_sequences
    scheduler.max_num_batched_tokens = wanted.max_batched_tokens
    scheduler.cache_size = wanted.cache_gib
    scheduler.enable_prefix_caching = wanted.prefix_cache
    scheduler.dynamic_split_fuse = True
    try:
        return openvino_genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU", dict(properties))
    except RuntimeError as error:
        raise ArtifactCorrupt(f"OpenVINO GenAI cannot load the model in {folder}: {str(error).strip().splitlines()[-1]}") from error


def _template(pipeline: Any) -> Template | None:
    tokenizer = pipeline.get_tokenizer()
    if not tokenizer.chat_template:
        return None

    def render(messages: Sequence[Message]) -> str:
        history = [{"role": message.role, "content": message.content} for message in messages]
        text: str = tokenizer.apply_chat_template(history, add_generation_prompt=True)
        return text

    return render


def _sampling(request: GenerateRequest, room: int, wording: Wording) -> Any:
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
        settings.rng_seed = int.from_bytes(os.urandom(6), "big") if request.seed is None else request.seed
    return settings
