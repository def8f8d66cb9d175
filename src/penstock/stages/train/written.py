"""How models are read fast on this device and written for every later stage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch


def attention_for(device: torch.device) -> Literal["eager", "sdpa"]:
    """Plain matmuls on CPU: the backward pass of torch's fused CPU attention took 2–4 times as long on rows of 16 to 256 tokens."""
    return "eager" if device.type == "cpu" else "sdpa"


def write_model(model: Any, tokenizer: Any, max_length: int, folder: Path) -> None:
    """Weights (float32 safetensors, one file), configuration, tokenizer. The same model gives the same bytes."""
    model.config.architectures = [type(model).__name__]
    model.config.dtype = "float32"
    model.save_pretrained(folder, max_shard_size="1000GB")
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' bars and load reports, which say nothing that the step's log does not."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
