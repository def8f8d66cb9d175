"""The yardstick: transformers on torch in float32, straight from a model folder, behind the same contract.

One step at a time on one thread, nothing batched: it shows what the other engines must answer, not how fast.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.core.errors import ArtifactCorrupt, BadInput, EngineClosed
from penstock.engines.answering import Answer, Piece
from penstock.engines.bundle_file import BundleFile
from penstock.engines.contract import (
    Chunk,
    Classified,
    ClassifyRequest,
    Embedded,
    EmbedRequest,
    EngineInfo,
    GenerateRequest,
    Request,
    Scored,
    ScoreRequest,
    Text,
)
from penstock.engines.encoding import Encoder
from penstock.engines.ranking import ranked, softmax
from penstock.engines.requests import check_classify, check_generate, check_text, check_texts
from penstock.engines.scoring import read_text
from penstock.engines.tally import Tally
from penstock.engines.token_scores import Passage, TokenScore, score_tokens
from penstock.engines.wording import Wording

if TYPE_CHECKING:
    import numpy as np
    import torch

NAME = "torch"
T = TypeVar("T")


class TorchReference:
    """Opens over a bundle (`open`) or a model folder (`from_model`)."""

    info: EngineInfo

    def __init__(self, folder: Path, info: EngineInfo) -> None:
        self.info = info
        self._model = _load(folder, info.task)
        decodes = info.task == "text-generation"
        self._wording = Wording.read(folder, info.max_length) if decodes else None
        self._encoder = None if decodes else Encoder.read(folder, info.max_length)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=NAME)
        self._closed = False
        self._tally = Tally("requests", "texts", "tokens", "truncated", "completion_tokens", "cancelled")

    @classmethod
    def open(cls, folder: Path, description: BundleFile, settings: Mapping[str, Any], digest: str | None) -> TorchReference:
        if settings:
            raise BadInput(f"engine {NAME!r} has no settings; given: {', '.join(sorted(settings))}")
        return cls(folder, EngineInfo(NAME, description.task, digest, description.precision, description.max_length, description.labels))

    @classmethod
    def from_model(cls, folder: Path, task: str, max_length: int) -> TorchReference:
        labels = tuple(json.loads((folder / "labels.json").read_bytes())) if task == "text-classification" else ()
        return cls(folder, EngineInfo(NAME, task, None, "f32", max_length, labels))

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """As the contract says. Raises BadInput for a request that does not fit the model's task."""
        if self._closed:
            raise EngineClosed("the engine is closed")
        self._tally.add(requests=1)
        if isinstance(request, ClassifyRequest | EmbedRequest) and self._encoder is not None:
            yield await self._step(lambda: self._encode(request))
        elif isinstance(request, ScoreRequest) and (wording := self._wording) is not None:
            check_text(request.text, "the text")
            yield await self._step(lambda: self._score(request.text, wording))
        elif isinstance(request, GenerateRequest) and self._wording is not None:
            check_generate(request)
            if request.adapter or request.output:
                raise BadInput(f"engine {NAME!r} has no adapters and does not constrain output")
            async with aclosing(self._texts(request, self._wording)) as texts:
                async for text in texts:
                    yield text
        else:
            raise BadInput(f"a {self.info.task} model cannot serve a {type(request).__name__}")

    def metrics(self) -> Mapping[str, float]:
        return {**self._tally.read(), "waiting": float(self._thread._work_queue.qsize())}

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)

    async def _step(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.wrap_future(self._thread.submit(work))
        except (RuntimeError, asyncio.CancelledError) as error:
            if self._closed:
                raise EngineClosed("the engine was closed while this request waited") from error
            raise

    def _encode(self, request: ClassifyRequest | EmbedRequest) -> Chunk:
        if isinstance(request, ClassifyRequest):
            check_classify(request, self.info)
        else:
            check_texts(request.texts)
        assert self._encoder is not None
        import torch

        encoded = self._encoder.encode(request.texts)
        ids, mask = self._encoder.pad_rows([one.ids for one in encoded])
        tokens = int(mask.sum())
        self._tally.add(texts=len(encoded), tokens=tokens, truncated=sum(one.cut for one in encoded))
        with torch.inference_mode():
            found = self._model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), output_hidden_states=True)
        if isinstance(request, ClassifyRequest):
            return Classified([ranked(row, self.info.labels, request.top_k) for row in softmax(found.logits.numpy())], tokens)
        weight = torch.from_numpy(mask)[:, :, None].float()
        pooled = (found.hidden_states[-1] * weight).sum(1) / weight.sum(1)
        return Embedded(torch.nn.functional.normalize(pooled, dim=-1).tolist(), tokens)

    def _score(self, text: str, wording: Wording) -> Scored:
        reading = read_text(text, wording)
        return reading.scored(self._passages(reading.passages))

    def _passages(self, passages: Sequence[Passage]) -> list[list[TokenScore]]:
        import torch

        def walk(ids: np.ndarray, mask: np.ndarray, _size: int) -> Iterator[tuple[int, np.ndarray]]:
            with torch.inference_mode():
                yield 0, self._model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits.numpy()

        return score_tokens(passages, self._model.config.vocab_size, walk)

    async def _texts(self, request: GenerateRequest, wording: Wording) -> AsyncGenerator[Text, None]:
        """One answer after the other; answer i has the seed `seed + i`."""
        ids = wording.prompt_ids(request)
        self._tally.add(tokens=len(ids))
        if request.echo:
            scores: list[TokenScore] = []
            if request.logprobs is not None:
                passage = Passage(ids, 0, request.logprobs)
                [scores] = await self._step(lambda: self._passages([passage]))
            prompt = wording.decode(ids) if request.prompt is None else request.prompt
            for at in range(request.n):
                yield Text(prompt, None, len(ids), 0, at, Answer(wording, request).told(ids, scores))
        made = 0
        for at in range(request.n):
            seed = None if request.seed is None else request.seed + at
            async with aclosing(self._answer(replace(request, seed=seed), wording, ids)) as pieces:
                async for piece, count in pieces:
                    yield Text(piece.text, piece.finish_reason, len(ids), made + count, at, piece.logprobs)
            made += count

    async def _answer(self, request: GenerateRequest, wording: Wording, ids: list[int]) -> AsyncGenerator[tuple[Piece, int], None]:
        room = min(request.max_tokens, self.info.max_length - len(ids))
        walk, answer = _Walk(self._model, request, ids), Answer(wording, request)
        try:
            while not answer.done:
                token, score = await self._step(walk.step)
                reason = "stop" if token in wording.ends else "length" if len(answer.ids) + 1 == room else None
                piece = answer.feed([token], reason, [score] if score else ())
                if piece:
                    yield piece, len(answer.ids)
        finally:
            self._tally.add(completion_tokens=len(answer.ids), cancelled=not answer.done)


class _Walk:
    """One text on its way: keys and values so far, the tokens, the source of chance."""

    def __init__(self, model: Any, request: GenerateRequest, ids: list[int]) -> None:
        import torch

        self._model, self._request, self._next, self._cache = model, request, torch.tensor([ids]), None
        self._prompt, self._made = ids, list[int]()
        self._chance = torch.Generator()
        if request.seed is None:
            self._chance.seed()
        else:
            self._chance.manual_seed(request.seed)

    def step(self) -> tuple[int, TokenScore | None]:
        """The next token; its score, by the model's own distribution, where the request asks for it."""
        import torch

        with torch.inference_mode():
            found = self._model(input_ids=self._next, past_key_values=self._cache, use_cache=True)
        self._cache, logits = found.past_key_values, found.logits[0, -1]
        token = _pick(_penalised(logits, self._request, self._prompt, self._made), self._request, self._chance)
        self._made.append(token)
        self._next = torch.tensor([[token]])
        return token, None if self._request.logprobs is None else _told(logits, token, self._request.logprobs)


def _told(logits: torch.Tensor, token: int, top: int) -> TokenScore:
    logprobs = logits.double().log_softmax(-1)
    best = logprobs.topk(top) if top else None
    return TokenScore(float(logprobs[token]), list(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if best else ())


def _penalised(logits: torch.Tensor, request: GenerateRequest, prompt: list[int], made: list[int]) -> torch.Tensor:
    """Repetition (Keskar et al. 2019) over prompt and answer; presence and frequency, as OpenAI defines them, over the answer."""
    import torch

    if request.repetition_penalty != 1:
        seen = torch.tensor(sorted({*prompt, *made}))
        values, factor = logits[seen], request.repetition_penalty
        logits = logits.index_put((seen,), torch.where(values < 0, values * factor, values / factor))
    if made and (request.presence_penalty or request.frequency_penalty):
        counts = torch.bincount(torch.tensor(made), minlength=len(logits))
        logits = logits - request.presence_penalty * (counts > 0) - request.frequency_penalty * counts
    return logits


def _pick(logits: torch.Tensor, request: GenerateRequest, chance: torch.Generator) -> int:
    """A token by temperature, then top-k, then top-p (Holtzman et al. 2020)."""
    import torch

    if request.temperature == 0:
        return int(logits.argmax())
    values, order = (logits / request.temperature).sort(descending=True)
    if request.top_k is not None:
        values, order = values[: request.top_k], order[: request.top_k]
    shares = values.softmax(-1)
    kept = (shares.cumsum(-1) - shares) < request.top_p
    return int(order[torch.multinomial(shares * kept, 1, generator=chance)])


def _load(folder: Path, task: str) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kind = AutoModelForCausalLM if task == "text-generation" else AutoModelForSequenceClassification
    try:
        return kind.from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True).eval()
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise ArtifactCorrupt(f"the model in {folder} does not load: {str(error).strip().splitlines()[0]}") from error
