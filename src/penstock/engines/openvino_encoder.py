"""The encoder engine: labels and embeddings from an OpenVINO graph, on the CPU.

One inference stream to a worker thread; texts of concurrent callers are gathered into batches (see gathering.py).
Not covered: generating and scoring text; a request for either is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.core.cpus import cores
from penstock.core.errors import BadInput, ReplicaFailed
from penstock.engines.bundle_file import BundleFile
from penstock.engines.contract import Chunk, Classified, ClassifyRequest, Embedded, EmbedRequest, EngineInfo, Request
from penstock.engines.encoding import Encoder, by_length
from penstock.engines.gathering import Gatherer, Item
from penstock.engines.openvino_graph import compile_graph, precision_hint
from penstock.engines.ranking import ranked, softmax
from penstock.engines.requests import check_classify, check_texts
from penstock.engines.settings import settings_of
from penstock.engines.tally import Tally

NAME = "openvino-encoder"
Text = str | Sequence[int]  # or its token ids


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """`streams` batches run at once, on `threads` CPU threads in all (0: one stream a thread, one thread a core)."""

    max_batch: int = 32
    streams: int = 0
    threads: int = 0
    inference_precision: str = "f32"  # of what is not quantised: f32, bf16, or auto (the machine's fastest)


@dataclass(frozen=True, slots=True)
class _Row:
    """What came of one text: probabilities (labels,) or a unit vector (hidden,)."""

    values: Any
    tokens: int


class OpenVinoEncoder:
    """Opens with `OpenVinoEncoder.open(folder, description, settings, digest)`."""

    info: EngineInfo

    def __init__(self, compiled: Any, encoder: Encoder, info: EngineInfo, workers: int) -> None:
        self.info = info
        self._encoder = encoder
        self._outputs = {name: at for at, port in enumerate(compiled.outputs) for name in port.get_names()}
        self._requests = [compiled.create_infer_request() for _ in range(workers)]
        self._width = _width(compiled, self._outputs)
        self._tally = Tally("requests", "texts", "tokens", "truncated", "batches", "batch_items", "busy_s")
        self._max_batch = int(info.settings["max_batch"])
        self._gatherer: Gatherer[_Row] = Gatherer(self._infer, workers=workers, max_batch=2 * self._max_batch, name=NAME)

    @classmethod
    def open(cls, folder: Path, description: BundleFile, settings: Mapping[str, Any], digest: str | None) -> OpenVinoEncoder:
        wanted = settings_of(EncoderSettings, settings, NAME)
        threads = wanted.threads or cores()
        compiled = compile_graph(folder, _hints(wanted, threads))
        workers = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        used = {
            "max_batch": wanted.max_batch,
            "streams": workers,
            "threads": threads,
            "inference_precision": compiled.get_property("INFERENCE_PRECISION_HINT").to_string(),
        }
        info = EngineInfo(NAME, description.task, digest, description.precision, description.max_length, description.labels, used)
        return cls(compiled, Encoder.read(folder, description.max_length), info, workers)

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """One Classified or Embedded. Raises BadInput for other requests, no texts, or a bad `top_k`."""
        if isinstance(request, ClassifyRequest):
            check_classify(request, self.info)
            rows = await self._rows(request.texts, "logits")
            yield Classified([ranked(row.values, self.info.labels, request.top_k) for row in rows], sum(row.tokens for row in rows))
        elif isinstance(request, EmbedRequest):
            self._check_embed(request)
            rows = await self._rows(request.texts or request.ids, "embedding")
            yield Embedded([shortened(row.values, request.dimensions).tolist() for row in rows], sum(row.tokens for row in rows))
        else:
            raise BadInput(
                f"an encoder classifies and embeds; it cannot serve a {type(request).__name__}",
                remedy="Send it to a text-generation model.",
            )

    def metrics(self) -> Mapping[str, float]:
        return {**self._tally.read(), "waiting": float(self._gatherer.waiting)}

    async def close(self) -> None:
        await asyncio.to_thread(self._gatherer.close)

    def _check_embed(self, request: EmbedRequest) -> None:
        if "embedding" not in self._outputs:
            raise BadInput("this bundle's graph has no embedding output, so it serves labels only", remedy="Export the model again.")
        if bool(request.texts) == bool(request.ids):
            raise BadInput("a request for embeddings holds texts or token ids, not both and not neither")
        if request.texts:
            check_texts(request.texts)
        else:
            self._encoder.check_ids(request.ids)
        if request.dimensions is not None and not 1 <= request.dimensions <= self._width:
            raise BadInput(f"dimensions is {request.dimensions}; this model's vectors have {self._width}")

    async def _rows(self, texts: Sequence[Text], output: str) -> list[_Row]:
        self._tally.add(requests=1, texts=len(texts))
        return await self._gatherer.submit(texts, output)

    def _infer(self, worker: int, items: list[Item[_Row]]) -> list[_Row]:
        begun = time.perf_counter()
        encoded = self._encoder.encode_any([item.text for item in items])
        lengths = [len(one.ids) for one in encoded]
        rows: list[_Row | None] = [None] * len(items)
        for group in by_length(lengths, self._max_batch):
            ids, mask = self._encoder.pad_rows([encoded[at].ids for at in group])
            try:
                found = self._requests[worker].infer([ids, mask], share_inputs=True, share_outputs=True)
            except RuntimeError as error:
                raise ReplicaFailed(f"OpenVINO failed on {len(group)} rows of {ids.shape[1]} tokens: {error}") from error
            wanted = {items[at].call.what for at in group}
            answers = {name: self._answers(name, found) for name in wanted}
            for place, at in enumerate(group):
                rows[at] = _Row(answers[items[at].call.what][place], lengths[at])
        self._tally.batch(len(items), time.perf_counter() - begun)
        self._tally.add(tokens=sum(lengths), truncated=sum(one.cut for one in encoded))
        return [row for row in rows if row is not None]

    def _answers(self, output: str, found: Any) -> Any:
        """(rows, labels) probabilities or (rows, hidden) vectors."""
        values = found[self._outputs[output]]
        return softmax(values) if output == "logits" else values.copy()


def _width(compiled: Any, outputs: Mapping[str, int]) -> int:
    if "embedding" not in outputs:
        return 0
    last = compiled.outputs[outputs["embedding"]].get_partial_shape()[1]
    return int(last.get_length()) if last.is_static else 1 << 16


def shortened(vector: Any, dimensions: int | None) -> Any:
    """The first `dimensions` components, of unit length again."""
    if dimensions is None or dimensions == len(vector):
        return vector
    import numpy as np

    cut = vector[:dimensions]
    return cut / max(float(np.linalg.norm(cut)), 1e-12)


def _hints(wanted: EncoderSettings, threads: int) -> dict[str, str]:
    if wanted.max_batch < 1 or wanted.streams < 0 or wanted.threads < 0:
        raise BadInput(f"max_batch must be at least 1, streams and threads at least 0; got {wanted}")
    hints = {"INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": str(wanted.streams or threads)}
    return {**hints, **precision_hint(wanted.inference_precision)}
