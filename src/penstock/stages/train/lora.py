"""Low-rank adapters (Hu et al. 2021) by PEFT: put on before training, saved apart and merged after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from penstock.core.digests import digest_file
from penstock.core.errors import BadInput
from penstock.engines.lora import weights_digest
from penstock.spec.pipeline import Lora


def wrap(model: Any, options: Lora, task: Literal["SEQ_CLS", "CAUSAL_LM"], base: Path) -> Any:
    """Adapters on `targets` (default: every linear layer but the head); the head itself is trained whole.

    What is saved names the weights in `base` by digest, not by a path: so whoever serves it can tell whether the base is the same.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type=task,
        r=options.rank,
        lora_alpha=options.alpha or 2.0 * options.rank,
        lora_dropout=options.dropout,
        target_modules=list(options.targets) if options.targets else "all-linear",
    )
    try:
        wrapped = get_peft_model(model, config)
    except ValueError as error:
        raise BadInput(f"lora.targets {list(options.targets or ())} do not fit the model: {error}") from error
    weights = {path.name: digest_file(path) for path in base.glob("*.safetensors")}
    wrapped.peft_config["default"].base_model_name_or_path = weights_digest(weights)
    return wrapped


def merge(model: Any, adapter: Path) -> Any:
    """Saves the adapter to its own folder and returns the plain model with it merged in."""
    model.save_pretrained(adapter, save_embedding_layers=False)
    for readme in adapter.glob("README.md"):
        readme.unlink()
    return model.merge_and_unload()
