"""Fine-tuning the packaged MiniLM on a few rows, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.core.digests import digest_folder
from penstock.core.errors import BadInput, DataUnusable, StepFailed
from penstock.spec.pipeline import Train
from penstock.spec.steps import TrainConfig
from penstock.stages.train import precision
from penstock.stages.train.stage import TrainStage
from penstock.testing.stages import FolderInputs, run_stage

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def trained(base: Path, dataset: Path, root: Path, **train):
    digest = digest_folder(base)
    config = TrainConfig(task="text-classification", base_digest=digest, train=Train.model_validate({"batch_size": 16, **train}))
    return run_stage(TrainStage(), config, root, FolderInputs({"dataset": dataset}, externals={digest: base}))


@pytest.mark.parametrize("method", ["full", {"lora": {"rank": 8}}])
def test_minilm_learns_four_intents(minilm, intents, tmp_path, method):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rate = 5e-4 if method == "full" else 4e-3
    run = trained(minilm, intents, tmp_path, method=method, epochs=3, learning_rate=rate)
    assert run.metrics["validation.accuracy"] >= 0.9
    folder = run.outputs.root / "model"
    labels = json.loads((folder / "labels.json").read_text())
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    texts = ["my card has not arrived yet", "I lost my phone", "what is the rate for euros", "how can I top up"]
    with torch.no_grad():
        guesses = model(**AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")).logits.argmax(1)
    assert [labels[i] for i in guesses] == ["card_arrival", "lost_phone", "exchange_rate", "top_up"]
    assert [model.config.id2label[i] for i in range(4)] == labels
    assert model.get_input_embeddings().weight.shape[0] == 30522
    assert (folder / "adapter/adapter_model.safetensors").exists() == (method != "full")
    kept = json.loads((folder / "training.json").read_text())
    assert "seconds" not in json.dumps(kept)
    assert len(kept["curve"]) == 3
    assert kept["curve"][-1]["train.loss"] < kept["curve"][0]["train.loss"]
    meta = run.outputs.metas["model"]
    assert meta["architecture"] == "BertForSequenceClassification"
    assert meta["parameters"] == sum(p.numel() for p in model.parameters())
    assert {"train.loss", "validation.loss", "validation.accuracy", "learning_rate"} <= {name for name, _, _ in run.context.points}
    assert run.context.progresses[-1].done == run.context.progresses[-1].total


def test_early_stopping_keeps_the_best(tiny_encoder, intents, tmp_path):
    stopping = {"metric": "accuracy", "patience": 1}
    run = trained(tiny_encoder, intents, tmp_path, epochs=40, learning_rate=1e-7, early_stopping=stopping)
    assert run.metrics["epochs"] < 40
    kept = json.loads((run.outputs.root / "model/training.json").read_text())
    assert kept["best"]["validation.accuracy"] == max(row["validation.accuracy"] for row in kept["curve"])


def test_a_loss_that_is_no_number_names_the_step(tiny_encoder, intents, tmp_path):
    with pytest.raises(StepFailed, match=r"step \d+ of") as caught:
        trained(tiny_encoder, intents, tmp_path, epochs=4, learning_rate=1e30, precision="fp32", warmup=0.0)
    assert "learning_rate" in caught.value.way_out


def test_one_label_cannot_be_learnt(tiny_encoder, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "labels.json").write_text('["only"]')
    with pytest.raises(DataUnusable, match="two labels"):
        trained(tiny_encoder, folder, tmp_path)


def test_a_base_that_is_no_model(tmp_path, intents):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(BadInput, match="cannot be read"):
        trained(base, intents, tmp_path)


def test_bf16_is_refused_where_the_machine_lacks_it(monkeypatch):
    monkeypatch.setattr(precision, "pick_device", lambda _: precision.torch.device("cpu"))
    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset({"avx2"}))
    assert precision.pick_compute("auto").name == "fp32"
    with pytest.raises(BadInput, match="avx512_bf16"):
        precision.pick_compute("bf16")


@pytest.mark.parametrize(
    ("task", "base", "train", "said"),
    [
        ("text-classification", "sha256:0", {"method": "pretrain"}, "needs task: text-generation"),
        ("text-classification", None, {"method": "full"}, "train.base"),
        ("text-generation", None, {"method": "pretrain", "early_stopping": {"metric": "accuracy"}}, "only loss"),
    ],
)
def test_what_cannot_be_combined(task, base, train, said, tmp_path):
    config = TrainConfig(task=task, base_digest=base, train=Train.model_validate(train))
    with pytest.raises(BadInput, match=said):
        run_stage(TrainStage(), config, tmp_path)
