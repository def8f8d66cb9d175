"""Low-rank adapters (Hu et al. 2021) by PEFT: put on before training, saved apart and merged after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from penstock.core.errors import BadInput
from penstock.spec.pipeline import Lora


def wrap(model: Any, options: Lora, task: Literal["SEQ_CLS", "CAUSAL_LM"]) -> Any:
    """Adapters on `targets` (default: every linear layer but the head); the head itself is trained whole."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type=task,
        r=options.rank,
        lora_alpha=options.alpha or 2.0 * options.rank,
        lora_dropout=options.dropout,
        target_modules=list(options.targets) if options.targets else "all-linear",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise BadInput(f"lora.targets {list(options.targets or ())} do not fit the model: {error}") from error


def merge(model: Any, adapter: Path) -> Any:
    """Saves the adapter to its own folder and returns the plain model with it merged in."""
    model.save_pretrained(adapter, save_embedding_layers=False)
    for readme in adapter.glob("README.md"):
        readme.unlink()
    return model.merge_and_unload()
