"""The official `openai` client, unchanged, against a real gateway and replica."""

from __future__ import annotations

import asyncio
import base64
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from penstock.testing.plain import PLAIN
from penstock.testing.serving import SECRET, RunningGateway, Stage, snapshot_of, wait_for

ASK = [{"role": "system", "content": "be short"}, {"role": "user", "content": "one two three"}]


@pytest.fixture
def official(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    http = httpx.Client(trust_env=False)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRET, http_client=http, max_retries=0) as client:
        yield client


def test_models_completions_chat_and_embeddings(official: openai.OpenAI) -> None:
    assert {"echo", "intents", "vectors"} <= {model.id for model in official.models.list()}
    assert official.models.retrieve("echo").id == "echo"
    done = official.completions.create(model="echo", prompt="a b c", max_tokens=4, temperature=0, top_p=0.9, seed=7)
    assert done.choices[0].text == "a b c a "
    assert done.choices[0].finish_reason == "length"
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (3, 4, 7)
    stopped = official.completions.create(model="echo", prompt="a b c", max_tokens=9, stop=["c"])
    assert (stopped.choices[0].text, stopped.choices[0].finish_reason) == ("a b ", "stop")
    said = official.chat.completions.create(model="echo", messages=ASK, max_completion_tokens=3, n=1, user="u-1")
    assert said.choices[0].message.content == "one two three "
    assert said.choices[0].message.role == "assistant"
    floats = official.embeddings.create(model="vectors", input=["x", "y"], encoding_format="float")
    assert [d.embedding for d in floats.data] == [[1.0, 0.0, 0.0]] * 2
    assert official.embeddings.create(model="vectors", input="x").data[0].embedding == [1.0, 0.0, 0.0]
    raw = official.embeddings.with_raw_response.create(model="vectors", input="x", encoding_format="base64").http_response.json()
    assert struct.unpack("<3f", base64.b64decode(raw["data"][0]["embedding"])) == (1.0, 0.0, 0.0)


def test_streams_with_usage(official: openai.OpenAI) -> None:
    chunks = list(official.completions.create(model="echo", prompt="a b", max_tokens=3, stream=True))
    assert "".join(c.choices[0].text for c in chunks) == "a b a "
    assert [c.choices[0].finish_reason for c in chunks] == [None, None, "length"]
    options = {"include_usage": True}
    deltas = list(official.chat.completions.create(model="echo", messages=ASK, max_tokens=5, stream=True, stream_options=options))
    assert deltas[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in deltas if c.choices) == "one two three one two "
    assert deltas[-1].choices == []
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens == 5


def test_errors_become_the_clients_exceptions(gateway: RunningGateway, official: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="did you mean 'echo'"):
        official.completions.create(model="ecoh", prompt="a")
    with pytest.raises(openai.BadRequestError) as caught:
        official.completions.create(model="echo", prompt="a", max_tokens=-1)
    assert (caught.value.param, caught.value.code) == ("max_tokens", "invalid_value")
    with pytest.raises(openai.InternalServerError, match="engine failed"):
        official.completions.create(model="echo", prompt="boom")
    with pytest.raises(openai.BadRequestError, match="NUL"):
        list(official.completions.create(model="echo", prompt="\x00", stream=True))
    http = httpx.Client(trust_env=False)
    stranger = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="psk-wrong", http_client=http, max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_async_client_streams_side_by_side(gateway: RunningGateway) -> None:
    async def scenario() -> list[str]:
        http = httpx.AsyncClient(trust_env=False)
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=SECRET, http_client=http, max_retries=0) as client:

            async def one(number: int) -> str:
                stream = await client.completions.create(model="echo", prompt=f"w{number}", max_tokens=20, stream=True)
                return "".join([chunk.choices[0].text async for chunk in stream])

            return await asyncio.gather(*(one(n) for n in range(16)))

    assert asyncio.run(scenario()) == [f"w{n} " * 20 for n in range(16)]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_engine_within_a_step(stage: Stage, tmp_path: Path, stream: bool) -> None:
    steps = tmp_path / "steps"
    replica = stage.replica("slow", settings={"step_s": 0.05, "steps_file": str(steps)})
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica])))
    http = httpx.Client(trust_env=False, timeout=0.5)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRET, http_client=http, max_retries=0) as client:
        if stream:
            for number, _ in enumerate(client.completions.create(model="echo", prompt="a", max_tokens=1000, stream=True)):
                if number == 5:
                    break
            http.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                client.completions.create(model="echo", prompt="a", max_tokens=1000)
    time.sleep(0.15)
    taken = steps.stat().st_size
    assert taken < 20
    time.sleep(0.3)
    assert steps.stat().st_size == taken
    records = gateway.folder / "records"
    wait_for(lambda: any(b'"status":499' in path.read_bytes() for path in records.glob("*.jsonl")), 3, "a record of the client's leaving")
    metrics = httpx.get(f"{gateway.url}/metrics", **PLAIN).text
    assert "penstock_in_flight 0" in metrics
