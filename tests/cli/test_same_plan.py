"""A pipeline built in Python and the same one read from a file give the same plan, key by key."""

from __future__ import annotations

from pathlib import Path

import penstock
from penstock.spec.pipeline import CleanRule, Data, Dedup, Lora, Method, Normalize, OptimizeRule, Quantize, Source, Split, Train, UserStep

FILE = """\
name: same
task: text-classification
data:
  sources: [{uri: rows.csv, text: question, label: intent}]
  clean: [normalize, {dedup: exact}]
  split: {validation: 20%, seed: 3}
train: {base: ./base, method: {lora: {rank: 4}}, epochs: 2, warmup: 10%}
optimize: [{quantize: int8}]
gates: accuracy >= 0.5
steps:
  - {name: count, uses: "mine:count", with: {limit: 3}, inputs: {rows: data}}
options:
  train: {timeout: 30m}
"""


def built() -> penstock.Pipeline:
    from penstock.spec.resources import StepOptions

    return penstock.Pipeline(
        name="same",
        task="text-classification",
        data=Data(
            sources=(Source(uri="rows.csv", text="question", label="intent"),),
            clean=(CleanRule(normalize=Normalize()), CleanRule(dedup=Dedup())),
            split=Split(validation=0.2, seed=3),
        ),
        train=Train(base="./base", method=Method(lora=Lora(rank=4)), epochs=2, warmup=0.1),
        optimize=(OptimizeRule(quantize=Quantize()),),
        gates=("accuracy >= 0.5",),
        steps=(UserStep(name="count", uses="mine:count", with_={"limit": 3}, inputs={"rows": "data"}),),
        options={"train": StepOptions(timeout=1800.0)},
    )


def write(folder: Path) -> None:
    (folder / "rows.csv").write_text("question,intent\nhow,a\nwhy,b\n")
    (folder / "mine.py").write_text("def count(rows: 'Folder', limit: int) -> int:\n    return limit\n")
    (folder / "base").mkdir()
    (folder / "base" / "config.json").write_text('{"model_type": "bert"}')
    (folder / "base" / "model.safetensors").write_bytes(b"weights")
    (folder / "penstock.yaml").write_text(FILE)


def test_the_same_object(folder: Path) -> None:
    write(folder)
    assert penstock.load("penstock.yaml").pipeline == built()


def test_the_same_plan(folder: Path, call) -> None:
    write(folder)
    from_file, from_python = penstock.plan("penstock.yaml"), penstock.plan(built())
    assert from_file == from_python
    assert [step.name for step in from_file.steps] == ["data", "train", "count", "optimize", "bundle", "evaluate"]
    assert from_file.steps[0].key is not None
    assert call("plan", "--json").json["steps"][0]["key"] == from_file.steps[0].key


def test_an_override_is_the_same_as_an_edit(folder: Path) -> None:
    write(folder)
    changed = penstock.plan("penstock.yaml", overrides=["data.split.seed=4"])
    (folder / "penstock.yaml").write_text(FILE.replace("seed: 3", "seed: 4"))
    assert penstock.plan("penstock.yaml") == changed
    assert changed.steps[0].key != penstock.plan(built()).steps[0].key
