"""Exports: compared with the original, the same bytes every time, broken models told plainly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars
import pytest

from penstock.core.digests import digest_folder
from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, BadInput, DataUnusable
from penstock.spec.pipeline import OptimizeRule
from penstock.spec.steps import OptimizeConfig
from penstock.stages.optimize.compare import compare
from penstock.stages.optimize.original import ENCODERS
from penstock.stages.optimize.stage import OptimizeStage
from penstock.testing.small_models import decoder_model
from penstock.testing.stages import FolderInputs, StageRun, run_stage

TEXT = (
    "".join(f"The {colour} {animal} runs over hill {at}.\n" for at, colour in enumerate(("red", "blue")) for animal in ("fox", "cow")) * 40
)
ALBERT = {
    "vocab_size": 60,
    "embedding_size": 16,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    for split, texts in (("train", TEXT.splitlines()[:40]), ("validation", TEXT.splitlines()[40:60])):
        polars.DataFrame({"text": texts}).write_parquet(folder / f"{split}.parquet")
    return folder


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoder_model(tmp_path_factory.mktemp("decoder") / "model", TEXT, context=32, steps=5)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a word tokenizer: what is tested here is the way, not the weights."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("encoder") / "model"
    raw = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.train_from_iterator(TEXT.splitlines(), trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"], show_progress=False))
    torch.manual_seed(7)
    shape = {key: value for key, value in ALBERT.items() if key != "embedding_size"}
    model = BertForSequenceClassification(BertConfig(**shape, max_position_embeddings=40, num_labels=3))
    with torch.no_grad():
        model.classifier.weight.normal_(0, 1)
    model.save_pretrained(folder)
    raw.save(str(folder / "tokenizer.json"))
    (folder / "labels.json").write_text('["a", "b", "c"]')
    return folder


def optimized(root: Path, model: Path, rows: Path, task: str, *quantized: str) -> StageRun:
    rules = tuple(OptimizeRule.model_validate({"quantize": to}) for to in quantized)
    config = OptimizeConfig.model_validate({"task": task, "rules": rules})
    return run_stage(OptimizeStage(), config, root, FolderInputs({"model": model, "dataset": rows}, {"model": {"max_length": 32}}))


@pytest.mark.models
@pytest.mark.parametrize("quantized", [(), ("int8",)])
@pytest.mark.parametrize("task", ["text-classification", "text-generation"])
def test_an_export_is_near_its_original_and_repeats_to_the_byte(
    tmp_path: Path, request: pytest.FixtureRequest, rows: Path, task: str, quantized: tuple[str, ...]
) -> None:
    model: Path = request.getfixturevalue("encoder" if task == "text-classification" else "decoder")
    made = optimized(tmp_path / "one", model, rows, task, *quantized)
    again = optimized(tmp_path / "two", model, rows, task, *quantized)
    export = made.outputs.root / "export"
    assert digest_folder(export) == digest_folder(again.outputs.root / "export")
    assert made.metrics["agreement"] >= (0.8 if quantized else 1.0)
    assert made.metrics["max_logit_difference"] < (1.0 if quantized else 1e-3)
    if quantized:
        assert made.metrics["size_after_bytes"] < 0.6 * made.metrics["size_before_bytes"]
    told = json.loads((export / "export.json").read_bytes())
    assert told["precision"] == ("int8" if quantized else "f32")
    assert not {"seconds", "rows_per_s_after", "tokens_per_s_after"} & set(told) | set(told["comparison"]) & {"rows_per_s_after"}
    assert made.outputs.metas["export"] == {name: told[name] for name in ("task", "engine", "precision", "max_length")}
    assert str(tmp_path) not in (export / "openvino_model.xml").read_text()


@pytest.mark.models
def test_another_process_writes_the_same_bytes(tmp_path: Path, encoder: Path, rows: Path) -> None:
    here = digest_folder(optimized(tmp_path / "here", encoder, rows, "text-classification").outputs.root / "export")
    script = (
        "import sys; from pathlib import Path; from penstock.core.digests import digest_folder\n"
        "from penstock.spec.steps import OptimizeConfig; from penstock.stages.optimize.stage import OptimizeStage\n"
        "from penstock.testing.stages import FolderInputs, run_stage\n"
        "root, model, rows = map(Path, sys.argv[1:])\n"
        "given = FolderInputs({'model': model, 'dataset': rows}, {'model': {'max_length': 32}})\n"
        "made = run_stage(OptimizeStage(), OptimizeConfig(task='text-classification', rules=()), root, given)\n"
        "print(digest_folder(made.outputs.root / 'export'))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "there"), str(encoder), str(rows)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1] == here


def broken(tmp_path: Path, model: Path, name: str, data: bytes | None) -> Path:
    for path in model.iterdir():
        if path.name != name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    if data is not None:
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("model.safetensors", None, ArtifactMissing),
        ("model.safetensors", b"not weights", ArtifactCorrupt),
        ("config.json", b"{", ArtifactCorrupt),
        ("config.json", b"[]", ArtifactCorrupt),
        ("labels.json", b'["a", "b"]', ArtifactCorrupt),
        ("labels.json", None, ArtifactMissing),
        ("tokenizer.json", b"{}", ArtifactCorrupt),
    ],
)
def test_broken_models_are_told_plainly(
    tmp_path: Path, encoder: Path, rows: Path, name: str, data: bytes | None, error: type[Exception]
) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(error, match=r"tokenizer|model|labels|config"):
        optimized(tmp_path, broken(tmp_path / "model", encoder, name, data), rows, "text-classification")


def test_architectures_that_cannot_be_exported_are_named(tmp_path: Path, encoder: Path, rows: Path) -> None:
    (tmp_path / "model").mkdir()
    model = broken(tmp_path / "model", encoder, "config.json", b'{"model_type": "mpnet"}')
    with pytest.raises(BadInput, match="mpnet.*" + ", ".join(ENCODERS)):
        optimized(tmp_path, model, rows, "text-classification")


def test_a_model_is_quantised_once(tmp_path: Path, encoder: Path, rows: Path) -> None:
    with pytest.raises(BadInput, match="once"):
        optimized(tmp_path, encoder, rows, "text-classification", "int8", "int8")


def test_nothing_to_compare_with_is_refused(tmp_path: Path, encoder: Path, rows: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "train.parquet").write_bytes((rows / "train.parquet").read_bytes())
    polars.DataFrame({"text": []}, schema={"text": polars.String}).write_parquet(empty / "validation.parquet")
    with pytest.raises(DataUnusable, match="validation"):
        optimized(tmp_path, encoder, empty, "text-classification")


def test_comparison_counts_what_it_says() -> None:
    a = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)
    found = compare([(a, a), (a, np.array([[0.0, 0.5], [0.0, 1.0]], np.float32))])
    assert (found.positions, found.max_logit_difference, found.agreement) == (4, 2.0, 0.75)
    assert found.kl_nats > 0
    assert compare([(a, a)]).kl_nats == 0
