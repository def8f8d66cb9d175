"""From a file to a streaming endpoint: a decoder pre-trained from scratch, asked by the official client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import GENERATE, Project, benched, online

pytestmark = [pytest.mark.models, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def project(make_project: Any) -> Project:
    made: Project = make_project(GENERATE)
    made.penstock("up", "--port", "0")
    return made


@pytest.fixture(scope="module")
def result(project: Project) -> dict[str, Any]:
    return project.json("run")


def test_pretrained_and_streamed(project: Project, result: dict[str, Any]) -> None:
    import openai

    assert result["status"] == "succeeded"
    assert 1 < result["metrics"]["bits_per_character"] < 12
    key = project.json("keys", "create", "client")["key"]
    project.json("predict", "writer", "Return ", "--max-tokens", "4")
    with openai.OpenAI(base_url=f"{result['deployment']['url']}/v1", api_key=key, max_retries=2) as client:
        assert [m.id for m in client.models.list()] == ["writer"]
        pieces = [
            chunk.choices[0].text
            for chunk in client.completions.create(model="writer", prompt="The ", max_tokens=12, temperature=0, stream=True)
            if chunk.choices
        ]
        whole = client.completions.create(model="writer", prompt="The ", max_tokens=12, temperature=0)
        assert len(pieces) > 3
        assert "".join(pieces) == whole.choices[0].text
        assert whole.usage is not None
        assert whole.usage.completion_tokens <= 12
        chat = client.chat.completions.create(model="writer", messages=[{"role": "user", "content": "Hi"}], max_tokens=5)
        assert chat.choices[0].message.role == "assistant"


def test_greedy_text_is_that_of_the_gateway(project: Project, result: dict[str, Any], mirror: Path) -> None:
    """A batch through the bundle that serves."""
    prompts = ["Return the", "If the file", "Open a", "This is"]
    (project.folder / "in.csv").write_text("prompt\n" + "".join(f"{prompt}\n" for prompt in prompts))
    project.penstock("batch", "run", "writer", "in.csv", "-o", "out.jsonl", "--max-tokens", "12")
    key, url = project.json("keys", "create")["key"], result["deployment"]["url"]
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
