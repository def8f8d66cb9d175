"""Texts as vectors: by a sentence encoder's OpenVINO graph, or, where there is none, by hashing words and their letters.

The same code makes the reference and looks at live texts. Vectors are kept as float16, which is finer than what differs between batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

import numpy as np

MAX_TOKENS, BATCH = 256, 32
TOKENS_AT_ONCE = 2048  # of a batch, padding included: what bounds memory when texts are long
HASHED_DIMENSIONS = 384


class Vectors(Protocol):
    name: str

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, dimensions) float16, of unit length."""
        ...


class EncodedVectors:
    """By the graph in `folder`, as stages/optimize/embedder.py writes it."""

    name = "encoder"

    def __init__(self, folder: Path, threads: int = 0) -> None:
        from penstock.core.cpus import cores
        from penstock.engines.encoding import Encoder
        from penstock.engines.openvino_graph import compile_graph, precision_hint

        hints = {"INFERENCE_NUM_THREADS": str(threads or cores()), "NUM_STREAMS": "1", **precision_hint("f32")}
        self._compiled = compile_graph(folder, hints)
        self._request: Any = self._compiled.create_infer_request()
        self._encoder = Encoder.read(folder, MAX_TOKENS)

    def of(self, texts: Sequence[str]) -> np.ndarray:
        from penstock.engines.encoding import by_length

        encoded = self._encoder.encode([text or " " for text in texts]) if texts else []
        width = int(self._compiled.outputs[0].get_partial_shape()[1].get_length())
        found = np.zeros((len(encoded), width), np.float16)
        for group in by_length([len(one.ids) for one in encoded], BATCH):
            rows = max(1, TOKENS_AT_ONCE // len(encoded[group[-1]].ids))
            for part in (group[start : start + rows] for start in range(0, len(group), rows)):
                ids, mask = self._encoder.pad_rows([encoded[at].ids for at in part])
                found[part] = self._request.infer([ids, mask], share_inputs=True)[0]
        return found


class HashedVectors:
    """Words and runs of letters inside them, each with a sign, into HASHED_DIMENSIONS sums (Weinberger et al. 2009)."""

    name = "hashed"

    def of(self, texts: Sequence[str]) -> np.ndarray:
        from penstock.monitoring.drift.words import words
        from penstock.screening.linear import word_features

        found = np.zeros((len(texts), HASHED_DIMENSIONS), np.float32)
        known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for row, text in enumerate(texts):
            for word in words(text):
                places = known.get(word)
                if places is None:
                    hashes = np.array([crc32(feature) for feature in word_features(word)], np.int64)
                    places = known[word] = (hashes >> 1) % HASHED_DIMENSIONS, np.where(hashes & 1, 1.0, -1.0) / np.sqrt(len(hashes))
                np.add.at(found[row], places[0], places[1])
        made: np.ndarray = (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)).astype(np.float16)
        return made


def open_vectors(encoder: Path | None, threads: int = 0) -> Vectors:
    """`encoder`: folder of the graph; None: hashed."""
    return EncodedVectors(encoder, threads) if encoder is not None else HashedVectors()
