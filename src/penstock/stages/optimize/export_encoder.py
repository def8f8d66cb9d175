"""An encoder's export from end to end: convert, quantise, compare with the original, time both."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.engines.encoding import Encoder, by_length
from penstock.stages.contract import Context
from penstock.stages.optimize.compare import ROWS, THREADS, Comparison, compare
from penstock.stages.optimize.encoder import convert_encoder, traceable
from penstock.stages.optimize.graph_file import write_graph
from penstock.stages.optimize.made import Export, Job
from penstock.stages.optimize.original import Original
from penstock.stages.optimize.quantize import calibration_texts, quantize_encoder

if TYPE_CHECKING:
    import numpy as np

ENGINE = "openvino-encoder"
CARRIED = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "labels.json")
BATCH = 32


def export_encoder(original: Original, job: Job, context: Context) -> Export:
    """Fills `job.folder`. `precision` is "f32" or "int8"."""
    encoder = Encoder.read(original.folder, original.max_length)
    graph_file = job.folder / "openvino_model.xml"
    context.log(f"converting a {original.config['model_type']} encoder, {original.weights_bytes / 1e6:.1f} MB")
    write_graph(convert_encoder(original), graph_file)
    if job.precision == "int8":
        texts = calibration_texts(job.rows("train"))
        context.log(f"calibrating int8 on {len(texts)} rows of the train split")
        _quantize(graph_file, encoder, texts, context.scratch)
    for name in CARRIED:
        if (original.folder / name).is_file():
            shutil.copyfile(original.folder / name, job.folder / name)
    batches = list(_batches(encoder, job.rows("validation")[:ROWS]))
    comparison, speeds = _measure(original, graph_file, batches)
    return Export(ENGINE, comparison, speeds)


def _quantize(graph_file: Path, encoder: Encoder, texts: Sequence[str], scratch: Path) -> None:
    full = scratch / "full" / graph_file.name
    shutil.rmtree(full.parent, ignore_errors=True)
    full.parent.mkdir(parents=True)
    for suffix in (".xml", ".bin"):
        shutil.move(graph_file.with_suffix(suffix), full.with_suffix(suffix))
    rows = (encoder.pad_rows([one.ids]) for one in encoder.encode(texts))
    write_graph(quantize_encoder(full, [{"input_ids": ids, "attention_mask": mask} for ids, mask in rows]), graph_file)


def _batches(encoder: Encoder, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    encoded = encoder.encode(texts)
    for group in by_length([len(one.ids) for one in encoded], BATCH):
        yield encoder.pad_rows([encoded[at].ids for at in group])


def _measure(original: Original, graph_file: Path, batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[Comparison, dict[str, float]]:
    import openvino
    import torch

    compiled = openvino.Core().compile_model(
        graph_file, "CPU", {"INFERENCE_NUM_THREADS": str(THREADS), "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}
    )
    module, request = traceable(original), compiled.create_infer_request()

    def before(batch: tuple[np.ndarray, np.ndarray]) -> Any:
        with torch.inference_mode():
            return module(*(torch.from_numpy(part) for part in batch))["logits"].numpy()

    def after(batch: tuple[np.ndarray, np.ndarray]) -> Any:
        return request.infer(list(batch))[0].copy()

    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        began = time.perf_counter()
        expected = [before(batch) for batch in batches]
        middle = time.perf_counter()
        found = [after(batch) for batch in batches]
        ended = time.perf_counter()
    finally:
        torch.set_num_threads(threads)
    rows = sum(len(batch[0]) for batch in batches)
    speeds = {"rows_per_s_before": rows / (middle - began), "rows_per_s_after": rows / (ended - middle)}
    return compare(zip(expected, found, strict=True)), speeds
