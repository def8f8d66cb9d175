"""The yardstick: transformers on torch in float32, straight from a model folder, behind the same contract.

One step at a time on one thread, nothing batched: it shows what the other engines must answer, not how fast.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.core.errors import ArtifactCorrupt, BadInput, EngineClosed
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
from penstock.engines.scoring import score_texts
from penstock.engines.tally import Tally
from penstock.engines.text_stream import TextStream
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
        elif isinstance(request, ScoreRequest) and self._wording is not None:
            check_text(request.text, "the text")
            yield await self._step(lambda: self._score(request.text))
        elif isinstance(request, GenerateRequest) and self._wording is not None:
            check_generate(request)
            async for text in self._texts(request, self._wording):
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

    def _score(self, text: str) -> Scored:
        import torch

        def forward(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                found: np.ndarray = self._model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits.numpy()
            return found

        assert self._wording is not None
        [scored] = score_texts([text], self._wording, self._model.config.vocab_size, forward)
        return scored

    async def _texts(self, request: GenerateRequest, wording: Wording) -> AsyncIterator[Text]:
        ids = wording.prompt_ids(request)
        room = min(request.max_tokens, self.info.max_length - len(ids))
        stream, made, finished = TextStream(wording.decode, request.stop), 0, False
        walk = _Walk(self._model, request, ids)
        try:
            while not finished:
                token = await self._step(walk.step)
                made += 1
                text = stream.feed([token])
                ended = token in wording.ends
                finished = ended or stream.stopped or made == room
                if finished and not stream.stopped:
                    text += stream.finish()
                reason = None if not finished else "stop" if ended or stream.stopped else "length"
                if text or finished:
                    yield Text(text, reason, len(ids), made)
        finally:
            self._tally.add(tokens=len(ids), completion_tokens=made, cancelled=not finished)


class _Walk:
    """One text on its way: keys and values so far, the last token, the source of chance."""

    def __init__(self, model: Any, request: GenerateRequest, ids: list[int]) -> None:
        import torch

        self._model, self._request, self._next, self._cache = model, request, torch.tensor([ids]), None
        self._chance = torch.Generator()
        if request.seed is None:
            self._chance.seed()
        else:
            self._chance.manual_seed(request.seed)

    def step(self) -> int:
        import torch

        with torch.inference_mode():
            found = self._model(input_ids=self._next, past_key_values=self._cache, use_cache=True)
        self._cache = found.past_key_values
        token = _pick(found.logits[0, -1], self._request, self._chance)
        self._next = torch.tensor([[token]])
        return token


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
