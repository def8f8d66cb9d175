"""A decoder's export from end to end: OpenVINO GenAI's form through optimum-intel, int8 weights, comparison with the original."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.errors import StepFailed
from penstock.engines.wording import Wording
from penstock.stages.contract import Context
from penstock.stages.optimize.compare import THREADS, Comparison, compare
from penstock.stages.optimize.graph_file import settle, write_graph
from penstock.stages.optimize.made import Export, Job
from penstock.stages.optimize.original import Original
from penstock.stages.optimize.quantize import quantize_decoder

if TYPE_CHECKING:
    import numpy as np

ENGINE = "openvino-decoder"
GRAPHS = ("openvino_model.xml", "openvino_tokenizer.xml", "openvino_detokenizer.xml")
CARRIED = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
COMPARED_TOKENS = 4096


def export_decoder(original: Original, job: Job, context: Context) -> Export:
    """Fills `job.folder`. `precision` is "f32" or "int8"."""
    context.log(f"converting a {original.config['model_type']} decoder, {original.weights_bytes / 1e6:.1f} MB")
    made = context.scratch / "converted"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    _convert(original, made)
    for name in CARRIED:
        source = original.folder / name if (original.folder / name).is_file() else made / name
        if source.is_file():
            shutil.copyfile(source, job.folder / name)
    for name in GRAPHS:
        for suffix in (".xml", ".bin"):
            shutil.copyfile((made / name).with_suffix(suffix), (job.folder / name).with_suffix(suffix))
        settle(job.folder / name)
    graph_file = job.folder / GRAPHS[0]
    if job.precision == "int8":
        context.log("rounding the weights to int8")
        write_graph(quantize_decoder(made / GRAPHS[0]), graph_file)
    shutil.rmtree(made)
    wording = Wording.read(original.folder, original.max_length)
    comparison, speeds = _measure(original, graph_file, _windows(wording, job.rows("validation")))
    return Export(ENGINE, comparison, speeds)


def _convert(original: Original, folder: Path) -> None:
    from optimum.exporters.openvino import export_from_model
    from optimum.exporters.openvino.convert import export_tokenizer
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(original.folder, local_files_only=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every shape that it takes for a constant; outputs are compared afterwards
            export_from_model(original.model, output=folder, task="text-generation-with-past", stateful=True)
            export_tokenizer(tokenizer, folder)
    except (RuntimeError, ValueError, TypeError) as error:
        raise StepFailed(f"optimum-intel cannot convert this {original.config['model_type']} decoder: {error}") from error


def _windows(wording: Wording, texts: Sequence[str]) -> list[np.ndarray]:
    """The beginning of the validation text in windows of the model's length, each (1, tokens) int64."""
    import numpy as np

    ids: list[int] = []
    for text in texts:
        ids += wording.tokenizer.encode(text + "\n").ids
        if len(ids) >= COMPARED_TOKENS:
            break
    ids = ids[:COMPARED_TOKENS]
    return [np.asarray([ids[at : at + wording.max_length]], np.int64) for at in range(0, len(ids), wording.max_length)]


def _measure(original: Original, graph_file: Path, windows: Sequence[np.ndarray]) -> tuple[Comparison, Mapping[str, float]]:
    import numpy as np
    import openvino
    import torch

    hints = {"INFERENCE_NUM_THREADS": str(THREADS), "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    compiled = openvino.Core().compile_model(graph_file, "CPU", hints)
    request, names = compiled.create_infer_request(), {port.any_name for port in compiled.inputs}

    def before(ids: np.ndarray) -> Any:
        with torch.inference_mode():
            return original.model(input_ids=torch.from_numpy(ids), use_cache=False).logits[0].numpy()

    def after(ids: np.ndarray) -> Any:
        request.reset_state()
        places = np.arange(ids.shape[1], dtype=np.int64)[None]
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": places, "beam_idx": np.zeros(1, np.int32)}
        return request.infer({name: value for name, value in given.items() if name in names})[0][0].copy()

    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        began = time.perf_counter()
        expected = [before(ids) for ids in windows]
        middle = time.perf_counter()
        found = [after(ids) for ids in windows]
        ended = time.perf_counter()
    finally:
        torch.set_num_threads(threads)
    tokens = sum(ids.shape[1] for ids in windows)
    speeds = {"tokens_per_s_before": tokens / (middle - began), "tokens_per_s_after": tokens / (ended - middle)}
    return compare(zip(expected, found, strict=True)), speeds
