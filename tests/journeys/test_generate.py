"""From a file to a streaming endpoint: a decoder pre-trained from scratch, asked by the official client."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import GENERATE, Project

pytestmark = [pytest.mark.models, pytest.mark.timeout(600)]


def test_pretrained_and_streamed(make_project: Any) -> None:
    import openai

    project: Project = make_project(GENERATE)
    project.penstock("up", "--port", "0")
    result = project.json("run")
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
