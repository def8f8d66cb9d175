"""Fine-tuning an encoder to classify texts: every weight, or low-rank adapters.

The model is the architecture's own ForSequenceClassification, so whatever reads transformers' models reads the result.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
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
from penstock.stages.train.precision import Compute
from penstock.stages.train.rows import Batch, Rows, by_length, grouped, padded
from penstock.stages.train.table import column
from penstock.stages.train.weights import Recipe

HEAD_LR = 2.0  # × the body's rate: the classifier starts from random weights
EVALUATION_TOKENS = 8192


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
    embedding: compact.Cut | None
    adapter: bool

    def recipe(self, train: Train) -> Recipe:
        return Recipe(train.weight_decay, lr_scale=lambda name: HEAD_LR if is_head(name) else 1.0)

    def save(self, folder: Path) -> None:
        """Writes the model (float32 safetensors), tokenizer, labels, and the adapter apart when there is one."""
        model = self.model
        if self.embedding:
            self.embedding.undo()
        if self.adapter:
            model = lora.merge(model, folder / "adapter")
        model.config.architectures = [type(model).__name__]
        model.config.dtype = "float32"
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / "labels.json").write_text(json.dumps(self.labels, ensure_ascii=False))


def is_head(name: str) -> bool:
    return any(part in ("classifier", "score", "pre_classifier") for part in name.split("."))


def build(base: Path, dataset: Path, train: Train, compute: Compute) -> Encoder:
    """Reads base and dataset. Raises BadInput when the base is no encoder that transformers can read, DataUnusable without two labels."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    labels = json.loads((dataset / "labels.json").read_text())
    if len(labels) < 2:
        raise DataUnusable(f"classification needs two labels, the dataset has {len(labels)}: {labels}")
    torch.manual_seed(train.seed)
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
        config = AutoConfig.from_pretrained(
            base,
            local_files_only=True,
            trust_remote_code=False,
            id2label=dict(enumerate(labels)),
            label2id={n: i for i, n in enumerate(labels)},
        )
        set_dropout(config, DROPOUT if train.dropout is None else train.dropout)
        # sdpa's bf16 backward on CPU is several times slower than plain matmuls on rows of a few dozen tokens.
        model = AutoModelForSequenceClassification.from_pretrained(
            base,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="eager" if compute.device.type == "cpu" else None,
        )
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"the base model in {base} cannot be read as a text classifier: {error}") from error
    limit = min(train.max_length or MAX_LENGTH, int(getattr(config, "max_position_embeddings", MAX_LENGTH)))
    rows = {split: tokenised(dataset / f"{split}.parquet", tokenizer, limit) for split in ("train", "validation")}
    embedding = None
    if train.method.lora:
        model = lora.wrap(model, train.method.lora)
    else:
        special = max([tokenizer.pad_token_id or 0, *[i for i in (config.bos_token_id, config.eos_token_id) if i is not None]])
        seen = np.concatenate([r.tokens for r in rows.values()])
        embedding = compact.cut(model.get_input_embeddings(), seen, tokenizer.pad_token_id or 0)
        del special
        rows = {split: Rows(embedding.encode(r.tokens), r.starts, r.labels) for split, r in rows.items()}
    model.to(compute.device)
    batch = train.batch_size or BATCH
    work = EncoderWork(model, rows["train"], rows["validation"], train, batch, tokenizer.pad_token_id or 0, limit, compute.device)
    return Encoder(model, tokenizer, labels, work, embedding, train.method.lora is not None)


BATCH = 32
MAX_LENGTH = 128
DROPOUT = 0.1


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
