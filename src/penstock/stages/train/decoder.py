"""A causal language model: pre-trained from random weights in the shape of Llama, or trained further from a base.

Documents are joined, each followed by the end token, and cut into blocks of `context` tokens; where the cuts fall moves with every epoch.
Loss is in nats per token; per character as well, so that models with different tokenizers can be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from penstock.core.errors import BadInput, DataUnusable
from penstock.spec.pipeline import Pretrain, Train
from penstock.stages.train import lora
from penstock.stages.train.precision import Compute
from penstock.stages.train.table import column
from penstock.stages.train.tokenizer import train_tokenizer
from penstock.stages.train.trainee import Choices
from penstock.stages.train.written import attention_for, write_model

PRETRAIN = Choices(
    epochs=5,
    batch_size=8,
    learning_rate=3e-3,
    dropout=0.0,
    max_length=256,
    metric="loss",
    evaluations=8,
    decay="cosine",
    floor=0.05,
    betas=(0.9, 0.99),
)
FURTHER = Choices(epochs=3, batch_size=8, learning_rate=1e-4, dropout=0.0, max_length=256, metric="loss", evaluations=4, decay="cosine")
VALIDATION_BLOCKS = 512  # at most so many blocks, spread evenly, judge the model while it trains


@dataclass(frozen=True, slots=True)
class Stream:
    """`tokens` of all documents of a split in a row; `characters` is the length of their text."""

    tokens: torch.Tensor  # (N,) int64
    characters: int

    def block(self, starts: NDArray[np.int64], length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, (B, length) each: targets are one token ahead."""
        index = torch.from_numpy(starts)[:, None] + torch.arange(length + 1)
        rows = self.tokens[index]
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


@dataclass(slots=True)
class DecoderWork:
    """Work of the loop: blocks of text, cross-entropy of the next token."""

    model: nn.Module
    train: Stream
    validation: Stream
    settings: Train
    batch: int  # blocks
    limit: int  # tokens of a block
    device: torch.device
    unit: str = "tokens"

    def epoch(self, number: int) -> list[NDArray[np.int64]]:
        """First tokens of the blocks of each batch; blocks do not overlap, a short last batch is dropped."""
        random = np.random.default_rng([self.settings.seed, number])
        spare = len(self.train.tokens) - 1 - self.limit * (self._blocks * self.batch)
        first = int(random.integers(0, spare + 1)) if spare > 0 else 0
        starts = first + self.limit * random.permutation(self._blocks * self.batch)
        return list(starts.reshape(self._blocks, self.batch))

    @property
    def _blocks(self) -> int:
        """Batches of an epoch; one block's worth of tokens is left free for the cuts to move."""
        return max(1, (len(self.train.tokens) - 1 - self.limit) // (self.limit * self.batch))

    def loss(self, batch: NDArray[np.int64]) -> tuple[torch.Tensor, int]:
        inputs, targets = self.train.block(batch, self.limit)
        return F.cross_entropy(*self._scored(inputs, targets), label_smoothing=self.settings.label_smoothing), targets.numel()

    def evaluate(self) -> dict[str, float]:
        stream, count = self.validation, 0
        starts = np.arange(0, max(1, len(stream.tokens) - self.limit), self.limit)
        if len(starts) > VALIDATION_BLOCKS:
            starts = starts[np.linspace(0, len(starts) - 1, VALIDATION_BLOCKS).astype(np.int64)]
        nats = 0.0
        for i in range(0, len(starts), self.batch):
            inputs, targets = stream.block(starts[i : i + self.batch], min(self.limit, len(stream.tokens) - 1))
            nats += float(F.cross_entropy(*self._scored(inputs, targets), reduction="sum"))
            count += targets.numel()
        per_character = nats / count * len(stream.tokens) / stream.characters
        return {"loss": nats / count, "nats_per_character": per_character, "bits_per_character": per_character / math.log(2)}

    def _scored(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.model(input_ids=inputs.to(self.device), use_cache=False).logits
        return logits.flatten(0, 1).float(), targets.to(self.device).flatten()


@dataclass(slots=True)
class Decoder:
    """A model, its tokenizer, and the work on a dataset."""

    model: Any
    tokenizer: Any
    work: DecoderWork
    choices: Choices

    @property
    def batch_size(self) -> int:
        return self.work.batch

    @property
    def max_length(self) -> int:
        return self.work.limit

    def save(self, folder: Path) -> None:
        """Writes the model and its tokenizer, and the adapter apart when there is one."""
        if self.work.settings.method.lora:
            self.model = lora.merge(self.model, folder / "adapter")
        write_model(self.model, self.tokenizer, self.max_length, folder)


def build(base: Path | None, dataset: Path, train: Train, compute: Compute) -> Decoder:
    """A new model when train.method is pretrain, else that in `base`.

    Raises BadInput, or DataUnusable when a split is shorter than two blocks.
    """
    texts = {split: column(dataset / f"{split}.parquet", "text") for split in ("train", "validation")}
    torch.manual_seed(train.seed)
    shape = train.method.pretrain
    choices = PRETRAIN if shape else FURTHER
    if shape is not None:
        limit = min(train.max_length or shape.context, shape.context)
        tokenizer = train_tokenizer(texts["train"], shape.tokenizer, shape.vocabulary, shape.context)
        model = fresh(shape, len(tokenizer), train.dropout, compute)
    else:
        assert base is not None
        tokenizer, model = read(base, compute)
        limit = min(train.max_length or choices.max_length, int(getattr(model.config, "max_position_embeddings", choices.max_length)))
        model = lora.wrap(model, train.method.lora, "CAUSAL_LM", base) if train.method.lora else model
    streams = {split: stream(rows, tokenizer) for split, rows in texts.items()}
    batch = train.batch_size or choices.batch_size
    if len(streams["train"].tokens) < limit * batch + limit + 1:
        batch = max(1, (len(streams["train"].tokens) - limit - 1) // limit)
    for split, found in streams.items():
        if len(found.tokens) <= (2 * limit if split == "train" else 2):
            raise DataUnusable(
                f"the {split} text is {len(found.tokens)} tokens, too short for blocks of {limit}",
                remedy="Give more text, or a smaller `context`.",
            )
    model.to(compute.device)
    work = DecoderWork(model, streams["train"], streams["validation"], train, batch, limit, compute.device)
    return Decoder(model, tokenizer, work, choices)


def stream(texts: list[str], tokenizer: Any) -> Stream:
    end = tokenizer.eos_token_id
    encoded = tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    flat = np.concatenate([np.asarray([*row, end] if end is not None else row, np.int64) for row in encoded])
    return Stream(torch.from_numpy(flat), sum(len(text) for text in texts))


def fresh(shape: Pretrain, vocabulary: int, dropout: float | None, compute: Compute) -> Any:
    """Random weights. Input and output embeddings are one matrix (Press & Wolf 2017)."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=-(-shape.hidden * 8 // 3 // 32) * 32,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        attention_dropout=dropout or 0.0,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        attn_implementation=attention_for(compute.device),
    )
    return LlamaForCausalLM(config)


def read(base: Path, compute: Compute) -> tuple[Any, Any]:
    """Tokenizer and model of a base. Raises BadInput when transformers reads no decoder there."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            base,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation=attention_for(compute.device),
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BadInput(f"the base model in {base} cannot be read as a causal language model: {error}") from error
    return tokenizer, model
