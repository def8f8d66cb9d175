"""The decoder engine: text by continuous batching in OpenVINO GenAI, on the CPU, and the likelihood of texts by the same graph.

Not covered: labels and embeddings; a request for either is refused. Beams, penalties and adapters.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penstock.core.cpus import cores
from penstock.core.errors import ArtifactCorrupt, BadInput
from penstock.engines.answers import Answers
from penstock.engines.bundle_file import BundleFile
from penstock.engines.constraints.outputs import grammar_of
from penstock.engines.contract import Chunk, EngineInfo, GenerateRequest, Message, Request, Scored, ScoreRequest
from penstock.engines.lane import Lane
from penstock.engines.lanes import Lanes
from penstock.engines.lora import Adapter
from penstock.engines.memory import resident_bytes
from penstock.engines.openvino_graph import precision_hint
from penstock.engines.requests import check_generate, check_text
from penstock.engines.sampling import samplings
from penstock.engines.scorer import Scorer
from penstock.engines.scoring import read_text
from penstock.engines.settings import settings_of
from penstock.engines.tally import Tally
from penstock.engines.wording import NO_TOOLS, Template, Wording

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

    def __init__(self, make: Callable[[Adapter | None, Tally], Lane], wording: Callable[[Any], Wording], info: EngineInfo) -> None:
        self.info = info
        self._tally = Tally("requests", "prompt_tokens", "completion_tokens", "cancelled", "batches", "batch_items", "busy_s")
        self._lanes = Lanes(lambda adapter: make(adapter, self._tally))
        self._wording = wording(self._lanes.base.pipeline)

    @classmethod
    def open(cls, folder: Path, description: BundleFile, settings: Mapping[str, Any], digest: str | None) -> OpenVinoDecoder:
        wanted = settings_of(DecoderSettings, settings, NAME)
        properties = _properties(wanted)

        def make(adapter: Adapter | None, tally: Tally) -> Lane:
            if adapter is None:
                return Lane(_pipeline(folder, wanted, properties), lambda: Scorer(folder, properties), tally, NAME)
            scorer = Scorer(folder, properties, adapter.applied)  # first: it finds out whether the adapter fits
            return Lane(_pipeline(folder, wanted, properties | _adapting(adapter)), lambda: scorer, tally, f"{NAME}-adapter")

        info = EngineInfo(NAME, description.task, digest, description.precision, description.max_length, (), asdict(wanted) | properties)
        return cls(make, lambda pipeline: Wording.read(folder, description.max_length, _template(pipeline)), info)

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Text chunks, or one Scored. Raises BadInput for other requests, bad values, or a prompt that leaves no room."""
        if isinstance(request, ScoreRequest):
            check_text(request.text, "the text")
            self._tally.add(requests=1)
            yield await self._scored(request.text)
        elif isinstance(request, GenerateRequest):
            async with self._lanes.taken(request.adapter) as lane:
                answers = await self._answers(request, lane)
                async with aclosing(answers.chunks(self._tally)) as chunks:
                    async for chunk in chunks:
                        yield chunk
        else:
            raise BadInput(
                f"a decoder generates and scores text; it cannot serve a {type(request).__name__}",
                remedy="Send it to a text-classification model.",
            )

    def metrics(self) -> Mapping[str, float]:
        lanes = self._lanes.all
        caches = [lane.pipeline.get_metrics() for lane in lanes]
        return {
            **self._tally.read(),
            "cache_bytes": float(sum(cache.cache_size_in_bytes for cache in caches)),
            "cache_usage": max(float(cache.cache_usage) for cache in caches),
            "waiting": float(sum(lane.stepper.waiting for lane in lanes)),
            "running": float(sum(lane.stepper.running for lane in lanes)),
            "adapters": float(len(self.adapters)),
            "rss_bytes": float(resident_bytes()),
        }

    async def load_adapter(self, name: str, folder: Path) -> None:
        """As the contract says; each adapter takes about as much memory as the model (see lanes.py)."""
        await self._lanes.load(name, folder)

    async def unload_adapter(self, name: str) -> None:
        await self._lanes.unload(name)

    @property
    def adapters(self) -> Sequence[str]:
        return self._lanes.names

    async def close(self) -> None:
        await self._lanes.close()

    async def _answers(self, request: GenerateRequest, lane: Lane) -> Answers:
        check_generate(request)
        ids = self._wording.prompt_ids(request)
        grammar = await asyncio.to_thread(grammar_of, request.output) if request.output else None
        settings = samplings(request, min(request.max_tokens, self._wording.max_length - len(ids)), self._wording, grammar)
        self._tally.add(requests=1, prompt_tokens=len(ids))
        return Answers(lane, self._wording, request, ids, settings)

    async def _scored(self, text: str) -> Scored:
        reading = await asyncio.to_thread(read_text, text, self._wording)
        return reading.scored(await self._lanes.base.score(reading.passages))


def _properties(wanted: DecoderSettings) -> dict[str, str]:
    if min(wanted.max_sequences, wanted.max_batched_tokens) < 1 or min(wanted.cache_gib, wanted.threads) < 0:
        raise BadInput(f"max_sequences and max_batched_tokens must be at least 1, cache_gib and threads at least 0; got {wanted}")
    if wanted.cache_precision not in ("auto", "f32", "bf16", "f16", "u8"):
        raise BadInput(f"cache_precision is {wanted.cache_precision!r}; it must be f32, bf16, f16, u8 or auto")
    threads = {"INFERENCE_NUM_THREADS": str(wanted.threads or cores())}
    cache = {} if wanted.cache_precision == "auto" else {"KV_CACHE_PRECISION": wanted.cache_precision}
    return {**threads, **precision_hint(wanted.inference_precision), **cache}


def _adapting(adapter: Adapter) -> dict[str, Any]:
    """The adapter in the runtime's form: a branch beside each weight, so that int8 weights stay as they are."""
    import openvino_genai

    mode = openvino_genai.AdapterConfig.Mode.MODE_STATIC
    return {"adapters": openvino_genai.AdapterConfig(openvino_genai.Adapter(adapter.file), adapter.scale, mode)}


def _pipeline(folder: Path, wanted: DecoderSettings, properties: Mapping[str, Any]) -> Any:
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

    def render(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        if tools and "tools" not in tokenizer.chat_template:
            raise BadInput("this model's chat template does not know tools", remedy=NO_TOOLS)
        history = [{"role": message.role, "content": message.content} for message in messages]
        text: str = tokenizer.apply_chat_template(history, add_generation_prompt=True, tools=[dict(tool) for tool in tools])
        return text

    return render
