"""Many adapters on one base, from files to the official client: trained, deployed by name, added and taken away while replicas serve on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.core.home import Home
from penstock.engines.lora import read_adapter
from penstock.store.store import Store

from .conftest import GENERATE, Project, digests

pytestmark = [
    pytest.mark.models,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]
TRAIN = """
name: {name}
task: text-generation
data: {{sources: [{{uri: {name}.txt}}], clean: []}}
train: {{base: base, method: {{lora: {{rank: 4}}}}, steps: 40, batch_size: 4, learning_rate: 0.03, max_length: 32}}
evaluate: {{resamples: 200, latency_requests: 10}}
"""
EXACT = "\n  engine: {inference_precision: f32, cache_precision: f32}\n  scale: {min: 2}\n"
PROMPT = "The "


@dataclass
class Served:
    """The project, where its base model lies, and a client of its endpoint."""

    project: Project
    base: Path
    client: Any

    def said(self, model: str) -> str:
        answer = self.client.completions.create(model=model, prompt=PROMPT, max_tokens=16, temperature=0)
        return str(answer.choices[0].text)

    def models(self) -> list[str]:
        return [model.id for model in self.client.models.list()]

    def pids(self) -> dict[str, int]:
        replicas = (self.project.folder / ".penstock/replicas/writer").glob("replica-*/pid.json")
        return {path.parent.name: json.loads(path.read_bytes())["pid"] for path in replicas}

    def deploy(self, *adapters: str, code: int = 0) -> dict[str, Any]:
        options = [word for adapter in adapters for word in ("--adapter", adapter)]
        return self.project.json("deploy", "writer", "1", *options, code=code)

    def adapter(self, name: str) -> Path:
        """The files of an adapter that is deployed."""
        row = next(one for one in self.shown()["adapters"] if one["name"] == name)
        return folder_of(self.project, row["digest"])

    def shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.project.json("deployments", "show", "writer")["deployment"]
        return shown


def folder_of(project: Project, digest: str) -> Path:
    store = Store.open(Home.find(project.folder, {}))
    try:
        return store.artifacts.materialize(digest)
    finally:
        store.close()


def copied(adapter: Path, folder: Path, **changes: Any) -> Path:
    """A folder as PEFT might have left it."""
    shutil.copytree(adapter, folder)
    config = folder / "adapter_config.json"
    known = json.loads(config.read_bytes())
    config.unlink()
    config.write_text(json.dumps(known | changes))
    return folder


def trained(project: Project, name: str, text: str) -> dict[str, Any]:
    (project.folder / f"{name}.txt").write_text(text * 120)
    (project.folder / f"{name}.yaml").write_text(TRAIN.format(name=name))
    return project.json("run", f"{name}.yaml")


def by_peft(base: Path, adapter: Path | None) -> str:
    """What transformers, with PEFT, answers greedily."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    given = tokenizer(PROMPT, return_tensors="pt")
    with torch.no_grad():
        ids = model.eval().generate(**given, max_new_tokens=16, do_sample=False)
    return str(tokenizer.decode(ids[0, given["input_ids"].shape[1] :], skip_special_tokens=True))


@pytest.fixture(scope="module")
def served(make_project: Any) -> Iterator[Served]:
    """`writer` with the adapters `cats`, from the registry, and `digits`, from its champion."""
    import openai

    project: Project = make_project(GENERATE)
    project.penstock("up", "--port", "0")
    model = digests(project.json("run", "--no-deploy"), "model")["model"]
    shutil.copytree(folder_of(project, model), project.folder / "base")
    for name, text in (("cats", "catcatcatcatcatcat\n"), ("digits", "0123456789 9876543210\n")):
        trained(project, name, text)
    adapters = "  adapters: {cats: registry:cats@1, digits: registry:digits}\n"
    (project.folder / "penstock.yaml").write_text(GENERATE.replace("deploy: {to: laptop}", "deploy:" + EXACT + adapters))
    assert "adapter writer:cats" in project.penstock("plan")
    result = project.json("run")
    assert result["status"] == "succeeded", result["error"]
    key = project.json("keys", "create", "client")["key"]
    with openai.OpenAI(base_url=f"{result['deployment']['url']}/v1", api_key=key, max_retries=0) as client:
        yield Served(project, project.folder / "base", client)


def test_each_adapter_answers_as_peft_does(served: Served) -> None:
    assert served.models() == ["writer", "writer:cats", "writer:digits"]
    shown = served.shown()
    assert [(one["name"], one["from"], one["live"]) for one in shown["adapters"]] == [
        ("cats", "registry:cats@1", True),
        ("digits", "registry:digits@1", True),
    ]
    expected = {"writer": by_peft(served.base, None)}
    expected |= {f"writer:{name}": by_peft(served.base, served.adapter(name)) for name in ("cats", "digits")}
    assert {model: served.said(model) for model in expected} == expected
    assert len(set(expected.values())) == 3, "the adapters change nothing"
    assert "adapter writer:digits on version 1: live" in served.project.penstock("deployments", "show", "writer")


def test_adapters_come_and_go_while_replicas_serve_on(served: Served) -> None:
    import openai

    before, pids = served.said("writer:cats"), served.pids()
    assert len(pids) == 2
    third = copied(served.adapter("cats"), served.project.folder / "third", lora_alpha=2, base_model_name_or_path="some/where")
    served.deploy(f"third={third}")
    assert served.models() == ["writer", "writer:cats", "writer:digits", "writer:third"]
    assert served.said("writer:third") == by_peft(served.base, third)
    served.deploy("cats=", "third=")
    assert served.models() == ["writer", "writer:digits"]
    with pytest.raises(openai.NotFoundError) as refused:
        served.said("writer:cats")
    assert refused.value.body["code"] == "model_not_found"  # type: ignore[index]
    assert served.project.json("run")["status"] == "succeeded"  # the file is what holds
    assert served.models() == ["writer", "writer:cats", "writer:digits"]
    assert served.said("writer:cats") == before
    assert served.pids() == pids


def test_what_does_not_fit_is_refused_and_changes_nothing(served: Served) -> None:
    project, pids = served.project, served.pids()
    assert read_adapter(served.adapter("cats")).base == read_adapter(served.adapter("digits")).base is not None
    copied(served.adapter("cats"), project.folder / "strange", base_model_name_or_path="sha256:" + "0" * 64)
    copied(served.adapter("cats"), project.folder / "ranked", r=5)
    for adapter, said in (
        ("strange=strange", "it was trained on other weights"),
        ("ranked=ranked", "says rank 5"),
        ("writer=registry:writer", "has no adapter"),
        ("lost=nowhere", "there is no folder"),
        ("none=registry:nobody@2", "model 'nobody' has no version"),
    ):
        with project.start("deploy", "writer", "1", "--adapter", adapter) as process:
            _, err = process.communicate(timeout=120)
        assert process.returncode == 2, err
        assert said in " ".join(err.split()), err
    text = (project.folder / "penstock.yaml").read_text()
    (project.folder / "penstock.yaml").write_text(text.replace("digits: registry:digits", "digits: strange"))
    result = project.json("run", code=2)
    assert "trained on other weights" in result["error"]["message"]
    (project.folder / "penstock.yaml").write_text(text)
    assert served.models() == ["writer", "writer:cats", "writer:digits"]
    assert served.pids() == pids
