"""Fine-tuning an encoder to classify texts: every weight, or low-rank adapters.

The model is the architecture's own ForSequenceClassification, so whatever reads transformers' models reads the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from penstock.core.errors import BadInput, DataUnusable
from penstock.spec.pipeline import Train
from penstock.stages.train import compact, lora
from penstock.stages.train.heads import carry_over, known_labels
from penstock.stages.train.precision import Compute
from penstock.stages.train.rows import Batch, Rows, by_length, grouped, padded
from penstock.stages.train.table import column
from penstock.stages.train.trainee import Choices
from penstock.stages.train.written import attention_for, write_model

EVALUATION_TOKENS = 8192  # of a batch


HEAD = frozenset({"classifier", "score", "pre_classifier"})


def faster_head(scale: float) -> Callable[[str], float]:
    """The classifier starts from random weights: it learns `scale` times as fast as the body, which only has to be bent."""
    return lambda name: scale if HEAD & set(name.split(".")) else 1.0


CHOICES = Choices(epochs=5, batch_size=32, learning_rate=4e-4, dropout=0.1, max_length=128, metric="accuracy", lr_scale=faster_head(10.0))
LORA_CHOICES = replace(CHOICES, learning_rate=2e-3, lr_scale=faster_head(2.0))  # adapters start from zero and bear it


@dataclass(slots=True)
class EncoderWork:
    """Work of the loop: rows grouped by length, cross-entropy on the model's logits."""

    model: nn.Module
    train: Rows
    validation: Rows
    settings: Train
    batch: int
    pad: int
    limit: int
    device: torch.device
    unit: str = "samples"

    def epoch(self, number: int) -> list[NDArray[np.int64]]:
        return grouped(self.train.lengths, self.batch, self.settings.seed, number)

    def loss(self, batch: NDArray[np.int64]) -> tuple[torch.Tensor, int]:
        rows = padded(self.train, batch, self.pad, self.limit)
        logits = self._logits(rows)
        return F.cross_entropy(logits, rows.labels.to(self.device), label_smoothing=self.settings.label_smoothing), len(batch)

    def evaluate(self) -> dict[str, float]:
        rows = self.validation
        logits = np.zeros((len(rows), int(self.model.config.num_labels)), np.float32)
        for chosen in by_length(rows.lengths, max(1, EVALUATION_TOKENS // int(rows.lengths.max()))):
            logits[chosen] = self._logits(padded(rows, chosen, self.pad, self.limit)).cpu().numpy()
        return scores(logits, rows.labels)

    def _logits(self, batch: Batch) -> torch.Tensor:
        found = self.model(input_ids=batch.ids.to(self.device), attention_mask=batch.mask.to(self.device)).logits
        return found.float()


def scores(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """`logits` (N, C), `labels` (N,): mean cross-entropy in nats, accuracy, macro F1 over the classes that occur."""
    from sklearn.metrics import f1_score

    guess = logits.argmax(1)
    loss = F.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels))
    f1 = f1_score(labels, guess, average="macro", zero_division=0)
    return {"loss": float(loss), "accuracy": float((guess == labels).mean()), "macro_f1": float(f1)}


@dataclass(slots=True)
class Encoder:
    """A base model with a fresh classifier, its tokenizer, and the work on a dataset."""

    model: Any
    tokenizer: Any
    labels: list[str]
    work: EncoderWork
    embedding: compact.Cut | None  # None with adapters, where the embedding stands still
    choices: Choices

    @property
    def batch_size(self) -> int:
        return self.work.batch

    @property
    def max_length(self) -> int:
        return self.work.limit

    def save(self, folder: Path) -> None:
        """Writes model, tokenizer and labels, and the adapter apart when there is one."""
        if self.embedding:
            self.embedding.undo()
        else:
            self.model = lora.merge(self.model, folder / "adapter")
        write_model(self.model, self.tokenizer, self.max_length, folder)
        (folder / "labels.json").write_text(json.dumps(self.labels, ensure_ascii=False))


def build(base: Path, dataset: Path, train: Train, compute: Compute) -> Encoder:
    """Reads base and dataset. Raises BadInput when the base is no encoder that transformers reads, DataUnusable without two labels."""
    labels = json.loads((dataset / "labels.json").read_text())
    if len(labels) < 2:
        raise DataUnusable(f"classification needs two labels, the dataset has {len(labels)}: {labels}")
    torch.manual_seed(train.seed)
    tokenizer, model = read(base, labels, CHOICES.dropout if train.dropout is None else train.dropout, compute)
    limit = min(train.max_length or CHOICES.max_length, int(getattr(model.config, "max_position_embeddings", CHOICES.max_length)))
    rows = {split: tokenised(dataset / f"{split}.parquet", tokenizer, limit) for split in ("train", "validation")}
    pad, embedding = tokenizer.pad_token_id or 0, None
    if train.method.lora:
        model = lora.wrap(model, train.method.lora, "SEQ_CLS", base)
    else:
        embedding = compact.cut(model.get_input_embeddings(), np.concatenate([r.tokens for r in rows.values()]), pad)
        rows = {split: Rows(embedding.encode(r.tokens), r.starts, r.labels) for split, r in rows.items()}
    model.to(compute.device)
    batch = train.batch_size or CHOICES.batch_size
    work = EncoderWork(model, rows["train"], rows["validation"], train, batch, pad, limit, compute.device)
    return Encoder(model, tokenizer, labels, work, embedding, LORA_CHOICES if train.method.lora else CHOICES)


def read(base: Path, labels: list[str], dropout: float, compute: Compute) -> tuple[Any, Any]:
    """Tokenizer and model of a base, with a new classifier for `labels`. Raises BadInput when transformers reads none there."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    names, before = dict(enumerate(labels)), known_labels(base)
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, **local)
        config = AutoConfig.from_pretrained(base, **local, id2label=names, label2id={name: i for i, name in names.items()})
        set_dropout(config, dropout)
        attention = attention_for(compute.device)
        model = AutoModelForSequenceClassification.from_pretrained(
            base,
            config=config,
            **local,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation=attention,
            ignore_mismatched_sizes=bool(before),
        )
        carry_over(model, base, before, labels)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BadInput(f"the base model in {base} cannot be read as a text classifier: {error}") from error
    return tokenizer, model


def set_dropout(config: Any, rate: float) -> None:
    """Dropout of hidden states and classifier; that of attention weights is left out: it costs more time than it gives."""
    for name in ("hidden_dropout_prob", "dropout", "classifier_dropout", "embd_pdrop", "resid_pdrop"):
        if hasattr(config, name):
            setattr(config, name, rate)
    for name in ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop"):
        if hasattr(config, name):
            setattr(config, name, 0.0)


def tokenised(table: Path, tokenizer: Any, limit: int) -> Rows:
    """All rows of a split at once, cut to `limit` tokens."""
    texts = column(table, "text")
    return Rows.of(tokenizer(texts, truncation=True, max_length=limit)["input_ids"], column(table, "label"))
