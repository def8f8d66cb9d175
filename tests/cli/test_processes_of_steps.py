"""How many processes run a step: training has one for each accelerator, a step of one's own as many as it says; the plan tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.cli.commands.plan import _lines
from penstock.control.api import plan
from penstock.control.graph import build_graph
from penstock.core.home import Home
from penstock.spec.pipeline import Pipeline

MODEL = {
    "name": "p",
    "task": "text-generation",
    "data": {"sources": [{"uri": "verses.txt", "format": "text"}]},
    "train": {"method": {"pretrain": {"layers": 2, "hidden": 32, "heads": 2, "context": 16, "vocabulary": 300}}},
}
K8S = {"k8s": {"kind": "kubernetes", "image": "i"}}


@pytest.mark.parametrize(
    ("asked", "processes"),
    [
        ({}, 1),
        ({"gpus": 8, "nodes": 2}, 8),
        ({"gpu": {"type": "h100-80gb", "count": 4}}, 4),
        ({"gpu": {"type": "tpu-v5e", "count": 4}}, 1),
        ({"gpus": 8, "processes": 2}, 2),
        ({"processes": 3}, 3),
    ],
)
def test_of_training_and_of_a_step_of_ones_own(tmp_path: Path, asked: dict[str, Any], processes: int) -> None:
    (tmp_path / "verses.txt").write_text("the rose of the tower")
    (tmp_path / "work.py").write_text("def one() -> int:\n    return 1\n")
    steps = [{"name": "one", "uses": "work:one", "resources": asked}]
    pipeline = Pipeline.model_validate({**MODEL, "steps": steps, "options": {"train": {"resources": asked}}, "platforms": K8S})
    graph = {node.name: node for node in build_graph(pipeline, tmp_path, Home.find(tmp_path, {}))}
    assert graph["train"].processes == processes
    assert graph["one"].processes == asked.get("processes", 1)
    assert graph["train"].nodes == asked.get("nodes", 1)


def test_the_plan_says_how_many_there_are_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verses.txt").write_text("the rose of the tower")
    options = {"train": {"resources": {"gpu": {"type": "h100-80gb", "count": 8}, "nodes": 2}}}
    found = plan(Pipeline.model_validate({**MODEL, "options": options, "platforms": K8S}))
    assert {step.name: step.processes for step in found.steps if step.processes > 1} == {"train": 16}
    assert any(line.startswith("train") and "run, 16 processes" in line for line in _lines(found))
