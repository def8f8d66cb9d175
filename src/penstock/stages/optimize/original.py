"""The model as training left it: read once from its folder, every way it can be broken told plainly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, BadInput

# Every export is compared with its original as it is made; tests/stages/optimize/test_families.py makes a small one of each.
ENCODERS = ("albert", "bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
COUNT_FROM_PADDING = ("camembert", "roberta", "xlm-roberta")  # their first token has the place behind the padding's
NEEDED = ("config.json", "model.safetensors", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class Original:
    """`model` is a transformers model in float32 and evaluation mode; `labels` is empty for a decoder."""

    folder: Path
    model: Any
    config: Mapping[str, Any]
    labels: tuple[str, ...]
    max_length: int  # tokens

    @property
    def weights_bytes(self) -> int:
        return (self.folder / "model.safetensors").stat().st_size


def read_original(folder: Path, task: str, max_length: int | None = None) -> Original:
    """The model in `folder`. Raises ArtifactMissing, ArtifactCorrupt, or BadInput for a family that cannot be exported."""
    for name in NEEDED:
        if not (folder / name).is_file():
            raise ArtifactMissing(f"the model folder {folder} holds no {name}")
    try:
        config = json.loads((folder / "config.json").read_bytes())
        family = config["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactCorrupt(f"{folder / 'config.json'} does not read as a model configuration ({error})") from error
    supported = ENCODERS if task == "text-classification" else DECODERS
    if family not in supported:
        raise BadInput(
            f"a {family!r} model cannot be exported for {task}; supported: {', '.join(supported)}",
            remedy="Train from a base of a supported architecture.",
        )
    labels = _labels(folder) if task == "text-classification" else ()
    return Original(folder, _load(folder, task, len(labels)), config, labels, max_length or _places(config))


def _places(config: Mapping[str, Any]) -> int:
    """Tokens that the model has places for."""
    places = int(config.get("max_position_embeddings") or config.get("n_positions") or 512)
    if config["model_type"] in COUNT_FROM_PADDING:
        pad = config.get("pad_token_id")
        places -= 1 + (1 if pad is None else int(pad))
    return places


def _labels(folder: Path) -> tuple[str, ...]:
    path = folder / "labels.json"
    if not path.is_file():
        raise ArtifactMissing(f"the model folder {folder} holds no labels.json")
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise ArtifactCorrupt(f"{path} does not read as JSON ({error})") from error
    if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
        raise ArtifactCorrupt(f"{path} is not a list of names")
    return tuple(found)


def _load(folder: Path, task: str, labels: int) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()  # a step's log is no terminal
    kind = AutoModelForSequenceClassification if task == "text-classification" else AutoModelForCausalLM
    try:
        model, report = kind.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise ArtifactCorrupt(f"the model in {folder} does not load: {str(error).strip().splitlines()[0]}") from error
    if report["missing_keys"]:
        raise ArtifactCorrupt(f"{folder / 'model.safetensors'} lacks weights of the model, first {sorted(report['missing_keys'])[0]!r}")
    if labels and model.config.num_labels != labels:
        raise ArtifactCorrupt(f"the model in {folder} scores {model.config.num_labels} classes, but labels.json names {labels}")
    return model.eval()
