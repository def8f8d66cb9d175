"""The steps that drift adds to a pipeline, and that a pipeline without drift keeps its keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.control.graph import ENCODER, Graph, build_graph
from penstock.control.keys import key_parts, step_key
from penstock.core.errors import ModelUnavailable
from penstock.core.home import Home
from penstock.spec.pipeline import Pipeline
from penstock.spec.structure import built_in_steps
from penstock.stages.train.bases import locate_base


def pipeline(**more: Any) -> Pipeline:
    section = {"sources": [{"uri": "rows.csv", "text": "text", "label": "label"}]}
    train = {"base": ENCODER, "steps": 1}
    return Pipeline.model_validate({"name": "bank", "task": "text-classification", "data": section, "train": train, **more})


@pytest.fixture
def graph(tmp_path: Path) -> Any:
    (tmp_path / "rows.csv").write_text("text,label\na,b\nc,d\n")

    def build(made: Pipeline) -> Graph:
        return build_graph(made, tmp_path, Home.find(tmp_path, {}))

    return build


def monitor(*drift: dict[str, Any], mask: bool = True) -> dict[str, Any]:
    return {"capture": {"mask": mask}, "metadata": ["channel"], "drift": list(drift)}


def test_without_drift_nothing_changes(graph: Any) -> None:
    plain, watched = graph(pipeline()), graph(pipeline(monitor=monitor({"input": "words"})))
    assert [node.name for node in plain] == ["data", "train", "optimize", "bundle", "evaluate"]
    assert [step_key(key_parts(node, {})) for node in plain] == [step_key(key_parts(node, {})) for node in watched[:5]]
    assert [node.name for node in graph(pipeline(monitor={"capture": True}))] == [node.name for node in plain]


@pytest.mark.parametrize(
    ("drift", "steps"),
    [
        (({"input": "words"},), ["reference"]),
        (({"input": "embedding"},), ["embedder", "reference"]),
        (({"output": "labels"}, {"metadata": "channel"}), ["reference"]),
        (({"metadata": "channel"},), []),
        (({"output": "length"},), []),
    ],
)
def test_the_steps_are_those_that_what_is_declared_needs(graph: Any, drift: tuple[dict[str, Any], ...], steps: list[str]) -> None:
    made = pipeline(monitor=monitor(*drift))
    nodes = graph(made)
    assert {node.name for node in nodes} - {"data", "train", "optimize", "bundle", "evaluate"} == set(steps)
    assert built_in_steps(made.model_dump(mode="json"))[5:] == steps
    assert {node.name: node.needs for node in nodes}.get("reference", set()) <= {"bundle", "data", "embedder"}


def test_masking_enters_the_key_and_so_does_what_is_declared(graph: Any) -> None:
    keys = {
        step_key(key_parts(graph(pipeline(monitor=section))[-1], {}))
        for section in (monitor({"input": "words"}), monitor({"input": "words"}, mask=False), monitor({"input": "words", "window": 200}))
    }
    assert len(keys) == 3


def test_without_the_packaged_encoder_texts_are_hashed(graph: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pipeline(monitor=monitor({"input": "embedding"}))
    assert graph(made)[-1].config["embedder"] is True
    asked: list[str] = []

    def locate(name: str, beside: Path, cache: Path) -> tuple[Path, str]:
        asked.append(name)
        if asked.count(ENCODER) > 1:  # the first asks for the base of the training
            raise ModelUnavailable("not installed")
        return locate_base(name, beside, cache)

    monkeypatch.setattr("penstock.stages.train.bases.locate_base", locate)
    nodes = graph(made)
    assert [node.name for node in nodes][5:] == ["reference"]
    assert nodes[-1].config["embedder"] is False


def test_a_model_that_writes_learns_its_reference_live(graph: Any) -> None:
    made = Pipeline.model_validate(
        {
            "name": "writer",
            "task": "text-generation",
            "data": {"sources": [{"uri": "rows.csv", "text": "text"}]},
            "train": {"method": {"pretrain": {}}, "steps": 1},
            "monitor": monitor({"input": "words"}),
        }
    )
    assert [node.name for node in graph(made)] == ["data", "train", "optimize", "bundle", "evaluate"]
