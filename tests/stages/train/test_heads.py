"""Training that goes on from a model of ours: the classifier keeps what it knew of labels that are still there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from penstock.stages.train.encoder import read
from penstock.stages.train.heads import carry_over, known_labels
from penstock.stages.train.precision import pick_compute


def before(tiny_encoder: Path, folder: Path, labels: list[str]) -> tuple[Path, torch.Tensor]:
    """A trained-like model with these labels, saved as ours are; its classifier's weights (L, H)."""
    tokenizer, model = read(tiny_encoder, labels, 0.0, pick_compute("fp32"))
    with torch.no_grad():
        model.classifier.weight.copy_(torch.arange(len(labels), dtype=torch.float32)[:, None] + 1)
        model.classifier.bias.copy_(torch.arange(len(labels), dtype=torch.float32) + 10)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    (folder / "labels.json").write_text(json.dumps(labels))
    return folder, model.classifier.weight.detach()


@pytest.mark.parametrize("now", [["a", "b", "c", "d"], ["d", "c", "a"], ["b"], ["c", "b", "a"]])
def test_rows_of_labels_that_stay_are_kept(tiny_encoder: Path, tmp_path: Path, now: list[str]) -> None:
    known = ["a", "b", "c"]
    base, weights = before(tiny_encoder, tmp_path / "base", known)
    assert known_labels(base) == known
    if len(now) < 2:
        now = [*now, "z"]
    _, model = read(base, now, 0.0, pick_compute("fp32"))
    head, bias = model.classifier.weight.detach(), model.classifier.bias.detach()
    for n, label in enumerate(now):
        if label in known:
            assert torch.equal(head[n], weights[known.index(label)])
            assert bias[n] == 10 + known.index(label)
        else:
            assert head[n].abs().max() < 0.5, "a new label starts from nothing, not from another label's row"


def test_a_base_without_labels_has_no_head_to_keep(tiny_encoder: Path) -> None:
    _, model = read(tiny_encoder, ["a", "b"], 0.0, pick_compute("fp32"))
    assert carry_over(model, tiny_encoder, [], ["a", "b"]) == 0
