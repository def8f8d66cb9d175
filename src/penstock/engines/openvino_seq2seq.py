"""The sequence-to-sequence engine: an encoder and a stateful decoder as optimum-intel exports them, on the CPU.

One thread takes one step of one answer at a time, in the order in which they are asked for, so running answers advance in turns.
Not covered: batching, beams, echo, constraints, adapters, likelihoods; of generation_config.json only the tokens that begin and end
an answer are read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.core.cpus import cores
from penstock.core.errors import ArtifactCorrupt, BadInput, EngineClosed
from penstock.engines.answering import Answer, Piece
from penstock.engines.bundle_file import BundleFile
from penstock.engines.contract import Chunk, EngineInfo, GenerateRequest, Request, Text
from penstock.engines.memory import resident_bytes
from penstock.engines.openvino_graph import compile_graph, precision_hint
from penstock.engines.picking import pick
from penstock.engines.requests import check_generate
from penstock.engines.settings import settings_of
from penstock.engines.tally import Tally
from penstock.engines.token_scores import TokenScore, scores_of
from penstock.engines.wording import Wording

if TYPE_CHECKING:
    import numpy as np

NAME = "openvino-seq2seq"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seq2SeqSettings:
    """`threads` 0 is one a core."""

    threads: int = 0
    inference_precision: str = "auto"  # f32, bf16, or auto (the machine's fastest)


class OpenVinoSeq2Seq:
    """Opens with `OpenVinoSeq2Seq.open(folder, description, settings, digest)`. `max_length` bounds source and answer, each for itself."""

    info: EngineInfo

    def __init__(self, folder: Path, info: EngineInfo, properties: Mapping[str, str]) -> None:
        self.info = info
        self._wording = Wording.read(folder, info.max_length)
        self._begin = _beginning(folder)
        self._encoder = compile_graph(folder, properties, graph="openvino_encoder_model.xml").create_infer_request()
        self._decoder = compile_graph(folder, properties, graph="openvino_decoder_model.xml")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=NAME)
        self._running, self._closed = 0, False
        self._tally = Tally("requests", "prompt_tokens", "completion_tokens", "cancelled")

    @classmethod
    def open(cls, folder: Path, description: BundleFile, settings: Mapping[str, Any], digest: str | None) -> OpenVinoSeq2Seq:
        wanted = settings_of(Seq2SeqSettings, settings, NAME)
        if wanted.threads < 0:
            raise BadInput(f"threads is {wanted.threads}; it must be at least 0")
        properties = {"INFERENCE_NUM_THREADS": str(wanted.threads or cores()), **precision_hint(wanted.inference_precision)}
        info = EngineInfo(NAME, description.task, digest, description.precision, description.max_length, (), asdict(wanted) | properties)
        return cls(folder, info, properties)

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Text chunks. Raises BadInput for other requests, bad values, and what this engine does not do."""
        if not isinstance(request, GenerateRequest):
            raise BadInput(f"a seq2seq model generates text; it cannot serve a {type(request).__name__}")
        check_generate(request)
        for name in ("echo", "output", "adapter"):
            if getattr(request, name):
                raise BadInput(f"engine {NAME!r} does not serve `{name}`", remedy="Leave it out.")
        if self._closed:
            raise EngineClosed("the engine is closed")
        ids = self._wording.prompt_ids(request)
        self._tally.add(requests=1, prompt_tokens=len(ids))
        source = await self._step(lambda: self._encoded(ids))
        made = 0
        for at in range(request.n):
            async with aclosing(self._answer(request, at, source)) as pieces:
                async for piece, count in pieces:
                    yield Text(piece.text, piece.finish_reason, len(ids), made + count, at, piece.logprobs)
            made += count

    def metrics(self) -> Mapping[str, float]:
        waiting = max(0, self._running - 1)
        return {**self._tally.read(), "waiting": float(waiting), "running": float(self._running), "rss_bytes": float(resident_bytes())}

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)

    async def _answer(self, request: GenerateRequest, index: int, source: _Source) -> AsyncGenerator[tuple[Piece, int], None]:
        """Pieces of answer `index`, with the count of its tokens so far."""
        room, answer = min(request.max_tokens, self.info.max_length), Answer(self._wording, request)
        walk = _Walk(self._decoder.create_infer_request(), request, index, source, self._begin)
        self._running += 1
        try:
            while not answer.done:
                token, score = await self._step(walk.step)
                self._tally.add(completion_tokens=1)
                reason = "stop" if token in self._wording.ends else "length" if len(answer.ids) + 1 == room else None
                piece = answer.feed([token], reason, [score] if score else ())
                if piece:
                    yield piece, len(answer.ids)
        finally:
            self._running -= 1
            self._tally.add(cancelled=not answer.done)

    async def _step(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.wrap_future(self._thread.submit(work))
        except (RuntimeError, asyncio.CancelledError) as error:
            if self._closed:
                raise EngineClosed("the engine was closed while this request waited") from error
            raise

    def _encoded(self, ids: Sequence[int]) -> _Source:
        import numpy as np

        rows = np.asarray([ids], np.int64)
        self._encoder.infer({"input_ids": rows, "attention_mask": np.ones_like(rows)})
        return _Source(np.array(self._encoder.get_tensor("last_hidden_state").data), np.ones_like(rows))


@dataclass(frozen=True, slots=True)
class _Source:
    """What the encoder made of the prompt: states (1, tokens, width) and mask (1, tokens)."""

    states: np.ndarray
    mask: np.ndarray


class _Walk:
    """One answer on its way: the decoder's keys and values in a request of its own, the tokens, the source of chance."""

    def __init__(self, decoder: Any, request: GenerateRequest, index: int, source: _Source, begin: Sequence[int]) -> None:
        import numpy as np

        self._decoder, self._request, self._source = decoder, request, source
        self._inputs = [port.any_name for port in decoder.model_inputs]
        self._made, self._next = list(begin), list(begin)
        self._chance = np.random.default_rng(None if request.seed is None else [request.seed + index])

    def step(self) -> tuple[int, TokenScore | None]:
        """The next token; its score, by the model's own distribution, where the request asks for it."""
        import numpy as np

        given = {
            "input_ids": np.asarray([self._next], np.int64),
            "encoder_hidden_states": self._source.states,
            "encoder_attention_mask": self._source.mask,
            "beam_idx": np.zeros(1, np.int32),
        }
        self._decoder.infer({name: given[name] for name in self._inputs})
        logits = self._decoder.get_tensor("logits").data[0, -1]
        token = pick(logits, self._request, self._made, self._chance)
        self._made.append(token)
        self._next = [token]
        top = self._request.logprobs
        return token, None if top is None else scores_of(logits[None], [token], top)[0]


def _beginning(folder: Path) -> list[int]:
    """The tokens that the decoder begins with: its start token, and the first of the answer where the model forces one."""
    known: dict[str, Any] = {}
    for name in ("config.json", "generation_config.json"):
        if (folder / name).is_file():
            known |= {key: value for key, value in json.loads((folder / name).read_bytes()).items() if value is not None}
    start = known.get("decoder_start_token_id", known.get("bos_token_id"))
    if not isinstance(start, int):
        raise ArtifactCorrupt(f"config.json in {folder} names no decoder_start_token_id, so no answer can begin")
    forced = known.get("forced_bos_token_id")
    return [start, forced] if isinstance(forced, int) else [start]
