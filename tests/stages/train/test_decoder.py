"""Pre-training a tiny decoder: tokenizer, blocks, loss per character, and the files that later stages read."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from penstock.core.digests import digest_file, digest_folder
from penstock.core.errors import BadInput, DataUnusable
from penstock.engines.lora import read_adapter, weights_digest
from penstock.spec.pipeline import Train
from penstock.spec.steps import TrainConfig
from penstock.stages.train.decoder import DecoderWork, Stream
from penstock.stages.train.stage import TrainStage
from penstock.stages.train.tokenizer import END, train_tokenizer
from penstock.testing.stages import FolderInputs, run_stage

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
SHAPE = {"layers": 2, "hidden": 32, "heads": 2, "context": 16, "vocabulary": 300}


def trained(dataset, root, *, base=None, **train):
    train = {"batch_size": 4, "epochs": 6, "method": {"pretrain": SHAPE}, **train}
    externals = {digest_folder(base): base} if base else {}
    config = TrainConfig(task="text-generation", base_digest=next(iter(externals), None), train=Train.model_validate(train))
    return run_stage(TrainStage(), config, root, FolderInputs({"dataset": dataset}, externals=externals))


@pytest.mark.parametrize("kind", ["bpe", "characters"])
def test_a_tokenizer_gives_any_text_back(kind):
    texts = ["the rose of the tower\n\nélan, élan, élan", "the river  of\tthe snow"]
    tokenizer = train_tokenizer(texts, kind, 300, 16)
    for text in (*texts, "новое 🌹\r\n x"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.convert_tokens_to_ids(END) == 0
    assert tokenizer.backend_tokenizer.to_str() == train_tokenizer(texts, kind, 300, 16).backend_tokenizer.to_str()
    pieces = len(tokenizer("the tower")["input_ids"])
    assert pieces == 9 if kind == "characters" else pieces < 9
    assert kind == "bpe" or len(tokenizer("é")["input_ids"]) == 1


def test_a_vocabulary_without_room_for_bytes():
    with pytest.raises(BadInput, match="257"):
        train_tokenizer(["x"], "bpe", 256, 16)


def test_blocks_cover_the_text_once_an_epoch():
    stream = Stream(torch.arange(1000), 1000)
    work = DecoderWork(torch.nn.Identity(), stream, stream, Train(), batch=3, limit=16, device=torch.device("cpu"))
    first, second = np.concatenate(work.epoch(0)), np.concatenate(work.epoch(1))
    assert len(work.epoch(0)) == len(work.epoch(1))
    assert (np.diff(np.sort(first)) == 16).all()
    assert set(first) != set(second)
    inputs, targets = stream.block(first[:3], 16)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert int(first.max()) + 16 < 1000


@pytest.fixture(scope="module")
def run(verses, tmp_path_factory):
    return trained(verses, tmp_path_factory.mktemp("decoder"), epochs=12, learning_rate=1e-2)


def test_it_learns_and_says_so_per_character(run):
    metrics = run.metrics
    assert metrics["validation.nats_per_character"] < 1.0
    assert metrics["validation.bits_per_character"] == pytest.approx(metrics["validation.nats_per_character"] / math.log(2))
    curve = json.loads((run.outputs.root / "model/training.json").read_text())["curve"]
    assert len(curve) >= 8
    assert curve[-1]["validation.loss"] < curve[0]["validation.loss"]


def test_the_loss_per_character_is_that_of_the_saved_model(run, verses):
    import pyarrow.parquet as pq
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = run.outputs.root / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    text = pq.read_table(verses / "validation.parquet").column("text")[0].as_py()
    ids = [*tokenizer(text)["input_ids"], 0]
    nats = count = 0.0
    with torch.no_grad():
        for start in range(0, len(ids) - 16, 16):
            block = torch.tensor(ids[start : start + 17])
            scored = model(block[None, :-1]).logits[0].float()
            nats += float(torch.nn.functional.cross_entropy(scored, block[1:], reduction="sum"))
            count += 16
    assert nats / count * len(ids) / len(text) == pytest.approx(run.metrics["validation.nats_per_character"], rel=0.02)
    assert model.config.model_type == "llama"
    assert run.outputs.metas["model"]["max_length"] == 16


@pytest.mark.parametrize("method", ["full", {"lora": {"rank": 4}}])
def test_a_decoder_is_trained_further(run, verses, tmp_path, method):
    further = trained(verses, tmp_path, base=run.outputs.root / "model", method=method, epochs=2)
    assert further.metrics["validation.loss"] < run.metrics["validation.loss"] + 0.05
    adapter = further.outputs.root / "model/adapter"
    assert adapter.exists() == (method != "full")
    if method != "full":  # the base is named by its bytes, wherever it lay
        weights = {"model.safetensors": digest_file(run.outputs.root / "model/model.safetensors")}
        assert read_adapter(adapter).base == weights_digest(weights)


def test_too_little_text(tmp_path, verses):
    with pytest.raises(DataUnusable, match="too short for blocks"):
        trained(verses, tmp_path, method={"pretrain": {**SHAPE, "context": 2048}})
