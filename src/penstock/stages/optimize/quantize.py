"""int8 by NNCF: an encoder by static calibration, a decoder's weights alone.

Encoder: post-training quantisation with SmoothQuant and bias correction, activations measured on rows of the train split.
Measured beside weight-only int8 with dynamic quantisation; the numbers are in docs/explanation/engines.md.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

CALIBRATION_ROWS = 128
SEED = 7


def calibration_texts(texts: Sequence[str], rows: int = CALIBRATION_ROWS) -> list[str]:
    """The same `rows` of the texts whenever they are the same texts."""
    return random.Random(SEED).sample(list(texts), min(rows, len(texts)))


def quantize_encoder(graph_file: Path, batches: Sequence[dict[str, Any]]) -> Any:
    """The graph at `graph_file` with int8 weights and activations. `batches` are single rows: input name to (1, tokens) int64."""
    import nncf
    import openvino

    graph = openvino.Core().read_model(graph_file)
    with _quietly():
        return nncf.quantize(
            graph,
            nncf.Dataset(batches),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
        )


def quantize_decoder(graph_file: Path) -> Any:
    """The graph at `graph_file` with its weights as int8, a scale and zero point to each row; needs no data."""
    import nncf
    import openvino

    graph = openvino.Core().read_model(graph_file)
    with _quietly():
        return nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_ASYM)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """NNCF draws bars and logs to the terminal; the run has its own."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield
    finally:
        logger.setLevel(level)
