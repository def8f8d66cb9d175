"""The logits of a decoder's graph, compiled apart from the pipeline, which keeps its own to itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.engines.openvino_graph import compile_graph
from penstock.engines.token_scores import Passage, TokenScore, score_tokens

if TYPE_CHECKING:
    import numpy as np


class Scorer:
    """Log-probabilities by one graph, after `change`; for one thread at a time."""

    def __init__(self, folder: Path, properties: Mapping[str, str], change: Callable[[Any], Any] | None = None) -> None:
        compiled = compile_graph(folder, properties, change)
        self._request = compiled.create_infer_request()
        self._inputs = [port.any_name for port in compiled.inputs]
        self.vocabulary: int = compiled.output("logits").get_partial_shape()[2].get_length()

    def score(self, passages: Sequence[Passage]) -> list[list[TokenScore]]:
        """As score_tokens."""
        return score_tokens(passages, self.vocabulary, self.walk)

    def walk(self, ids: np.ndarray, mask: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Pieces of at most `size` tokens of ids and mask (rows, tokens), each with float32 logits (rows, piece, vocabulary)."""
        import numpy as np

        self._request.reset_state()
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
        for begin in range(0, ids.shape[1], size):
            end = min(begin + size, ids.shape[1])
            given = {
                "input_ids": ids[:, begin:end],
                "attention_mask": mask[:, :end],
                "position_ids": positions[:, begin:end],
                "beam_idx": np.arange(len(ids), dtype=np.int32),
            }
            self._request.infer({name: given[name] for name in self._inputs})
            yield begin, self._request.get_tensor("logits").data
