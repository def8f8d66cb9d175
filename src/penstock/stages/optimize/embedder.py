"""A sentence encoder as one OpenVINO graph: token ids in, one vector a text out, pooled and normalised inside the graph.

Pooling is what the model was trained with: given, else read from `1_Pooling/config.json` where the folder has one, else mean.
Not covered: prompts that some models want before queries and passages; the caller writes them.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from penstock.core.errors import ArtifactCorrupt, BadInput
from penstock.engines.encoding import Encoder
from penstock.stages.optimize.export_encoder import CARRIED, ENGINE
from penstock.stages.optimize.graph_file import write_graph
from penstock.stages.optimize.original import ENCODERS

if TYPE_CHECKING:
    import numpy as np

Pooling = Literal["mean", "cls", "max"]
_NAMES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}
SAMPLES = ("Where is my card?", "The exchange rate was wrong for the transfer that I made last week.", "no")
LEAST_COSINE = 0.999


def export_embedder(base: Path, folder: Path, pooling: Pooling | None, normalize: bool, max_length: int | None) -> Mapping[str, Any]:
    """Fills `folder` with graph and tokenizer; returns facts of it, with the smallest `cosine` between its vectors and the original's.

    Raises BadInput for an unsupported family, ArtifactCorrupt when the graph does not say what the model says.
    """
    import openvino
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # weights that a sentence encoder does not use are no news to whoever imports one
    config = json.loads((base / "config.json").read_bytes())
    if config.get("model_type") not in ENCODERS:
        raise BadInput(f"a {config.get('model_type')!r} model cannot be exported for embedding; supported: {', '.join(ENCODERS)}")
    chosen = pooling or told_pooling(base)
    length = min(max_length or 512, int(config.get("max_position_embeddings") or 512))
    model = AutoModel.from_pretrained(base, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True, use_safetensors=True)
    module = _pooled(model, chosen, normalize)
    example = torch.ones(2, 7, dtype=torch.long)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of every shape that it takes for a constant; the vectors are compared below
        graph = openvino.convert_model(module, example_input={"input_ids": example, "attention_mask": example})
    for port, name in (*zip(graph.inputs, ("input_ids", "attention_mask"), strict=True), (graph.outputs[0], "embedding")):
        port.get_tensor().set_names({name})
    folder.mkdir(parents=True, exist_ok=True)
    write_graph(graph, folder / "openvino_model.xml")
    for name in CARRIED:
        if name != "labels.json" and (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    ids, mask = _rows(Encoder.read(folder, length))
    compiled = openvino.Core().compile_model(folder / "openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found: np.ndarray = compiled([ids, mask])[0]
    with torch.inference_mode():
        wanted: np.ndarray = module(torch.from_numpy(ids), torch.from_numpy(mask))["embedding"].numpy()
    cosine = float(min(_cosine(one, other) for one, other in zip(found, wanted, strict=True)))
    if cosine < LEAST_COSINE:
        raise ArtifactCorrupt(f"the exported graph's vectors differ from the model's (cosine {cosine:.4f})")
    return {
        "engine": ENGINE,
        "pooling": chosen,
        "normalize": normalize,
        "dimensions": int(found.shape[1]),
        "max_length": length,
        "cosine": round(cosine, 6),
    }


def told_pooling(base: Path) -> Pooling:
    """What the folder of a sentence-transformers model says, else mean. Raises BadInput for a mode that is not covered."""
    path = base / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    told = json.loads(path.read_bytes())
    modes = [name for name, value in told.items() if name.startswith("pooling_mode_") and value is True]
    known = [_NAMES[name] for name in modes if name in _NAMES]
    if len(modes) != 1 or len(known) != 1:
        raise BadInput(f"{path} asks for {', '.join(modes) or 'no pooling'}; known: {', '.join(get_args(Pooling))}")
    return cast(Pooling, known[0])


def _pooled(model: Any, pooling: Pooling, normalize: bool) -> Any:
    import torch

    class Pooled(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
            mask = attention_mask[:, None, None, :].to(torch.bool)  # (B, 1, 1, T): the tracer cannot follow transformers' own
            states = self.model(input_ids=input_ids, attention_mask=mask).last_hidden_state  # (B, T, H)
            there = attention_mask[:, :, None].to(torch.float32)  # (B, T, 1)
            if pooling == "cls":
                vectors = states[:, 0]
            elif pooling == "max":
                vectors = (states + (there - 1.0) * 1e9).amax(1)
            else:
                vectors = (states * there).sum(1) / there.sum(1)
            return {"embedding": torch.nn.functional.normalize(vectors, dim=-1) if normalize else vectors}

    return Pooled().eval()


def _rows(encoder: Encoder) -> tuple[np.ndarray, np.ndarray]:
    return encoder.pad_rows([one.ids for one in encoder.encode(SAMPLES)])


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    import numpy as np

    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
