"""A batch through the bundle that serves gives the answers that the gateway gives: labels and scores, and greedy text."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import CLASSIFY, GENERATE, Project

pytestmark = [pytest.mark.models, pytest.mark.slow]


def online(url: str, key: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, json.dumps(body).encode(), headers), timeout=60) as answer:
        value: dict[str, Any] = json.load(answer)
        return value


def benched(project: Project, *arguments: str) -> dict[str, Any]:
    """The report; a busy machine may make it not valid (exit code 1), which is no matter here."""
    with project.start("bench", *arguments, "--warmup", "0.5s", "--json") as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 1), err
    value: dict[str, Any] = json.loads(out)
    return value


def test_labels_and_scores_are_those_of_the_gateway(make_project: Callable[[str], Project]) -> None:
    project = make_project(CLASSIFY)
    project.penstock("run")
    texts = [
        f"{word} a {thing} and return it" for word in ("Open", "Close", "Parse", "Send") for thing in ("file", "socket", "date", "thread")
    ]
    (project.folder / "in.jsonl").write_text("".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts)))
    done = project.json("batch", "run", "deployment:docs", "in.jsonl", "-o", "out.jsonl")
    assert (done["rows"], done["failures"]) == (16, 0)
    assert done["bundle"] == project.json("deployments")["deployments"][0]["digest"]
    key, url = project.json("keys", "create")["key"], project.json("deployments")["deployments"][0]["url"]
    rows = [json.loads(line) for line in (project.folder / "out.jsonl").read_text().splitlines()]
    for row, text in zip(rows, texts, strict=True):
        answer = online(url, key, "/v1/classify", {"model": "docs", "input": text})["data"][0]
        assert row["label"] == answer["label"]
        assert row["score"] == pytest.approx(answer["score"], abs=2e-3)  # int8 activations are scaled by batch
    project.json("batch", "run", "docs:1", "in.jsonl", "-o", "single.jsonl", "--rows-per-request", "1", "--concurrency", "1")
    single = [json.loads(line) for line in (project.folder / "single.jsonl").read_text().splitlines()]
    for row, text in zip(single, texts, strict=True):
        answer = online(url, key, "/v1/classify", {"model": "docs", "input": text})["data"][0]
        assert (row["label"], row["score"]) == (answer["label"], round(answer["score"], 6))  # alone in its batch: the very number
    report = benched(project, "docs", "--rate", "20", "--duration", "2s")
    assert report["result"]["failed"] == 0
    assert report["target"]["path"] == "/v1/classify"
    assert report["target"]["version"] == "1"


def test_greedy_text_is_that_of_the_gateway(make_project: Callable[[str], Project], mirror: Path) -> None:
    project = make_project(GENERATE)
    project.penstock("run")
    prompts = ["Return the", "If the file", "Open a", "This is"]
    (project.folder / "in.csv").write_text("prompt\n" + "".join(f"{prompt}\n" for prompt in prompts))
    project.penstock("batch", "run", "writer", "in.csv", "-o", "out.jsonl", "--max-tokens", "12")
    key, url = project.json("keys", "create")["key"], project.json("deployments")["deployments"][0]["url"]
    rows = [json.loads(line) for line in (project.folder / "out.jsonl").read_text().splitlines()]
    for row, prompt in zip(rows, prompts, strict=True):
        body = {"model": "writer", "prompt": prompt, "max_tokens": 12, "temperature": 0}
        assert row["answer"] == online(url, key, "/v1/completions", body)["choices"][0]["text"]
        assert row["prompt"] == prompt
    report = benched(
        project,
        "writer",
        "--trace",
        str(mirror / "azure_llm_trace_2023" / "AzureLLMInferenceTrace_conv.csv"),
        "--speedup",
        "100",
        "--duration",
        "2s",
    )
    assert report["result"]["errors"] == {}, report["result"]["first_messages"]
    load = report["load"]
    assert load["token_scale"] < 1  # 1,020 tokens and more in the trace, 64 in this model
    mean = report["result"]["prompt_tokens"] / report["result"]["requests"]
    assert 0.5 * load["median_prompt_tokens"] < mean < 64
    assert report["result"]["first_token"]["count"] == report["result"]["requests"]
