"""The official `openai` client in depth, and LangChain's, unchanged, against a real gateway and replicas."""

from __future__ import annotations

import asyncio
import hashlib
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from penstock.serving.feedback import read_feedback
from penstock.serving.joined import read_joined
from penstock.serving.snapshot import KeyEntry, KeyLimits, Limits
from penstock.testing.plain import PLAIN
from penstock.testing.serving import KEY, SECRET, RunningGateway, Stage, snapshot_of, wait_for

ASK: Any = [{"role": "user", "content": "one two three"}]
SLOW_STEP_S = 0.05


@pytest.fixture
def official(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    http = httpx.Client(trust_env=False)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRET, http_client=http, max_retries=0) as client:
        yield client


def test_n_logprobs_and_token_prompts(official: openai.OpenAI) -> None:
    done = official.completions.create(model="echo", prompt=[[1, 2], [3]], n=2, max_tokens=2, logprobs=2, echo=True)
    assert [(c.index, c.text) for c in done.choices] == [(0, "t1 t2t1 t2 "), (1, "t1 t2t2 t1 "), (2, "t3t3 t3 "), (3, "t3t3 t3 ")]
    told = done.choices[0].logprobs
    assert told is not None
    assert told.token_logprobs is not None
    assert told.token_logprobs[0] is None  # type: ignore[comparison-overlap]  # the API does so, its client's types do not know
    assert done.usage is not None
    assert done.usage.prompt_tokens_details is not None
    said = official.chat.completions.create(model="echo", messages=ASK, n=2, max_tokens=1, logprobs=True, top_logprobs=1)
    assert [c.message.content for c in said.choices] == ["one ", "two "]
    assert said.choices[1].logprobs is not None
    assert said.choices[1].logprobs.content is not None
    assert said.choices[1].logprobs.content[0].top_logprobs[0].token == "likelier"


def test_streamed_choices_come_apart(official: openai.OpenAI) -> None:
    said = {0: "", 1: ""}
    with official.chat.completions.create(model="echo", messages=ASK, n=2, max_tokens=3, logprobs=True, stream=True) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                said[choice.index] += choice.delta.content or ""
    assert said == {0: "one two three ", 1: "two three one "}


def test_the_clients_own_streaming_accumulator_understands_ours(official: openai.OpenAI) -> None:
    with official.chat.completions.stream(model="echo", messages=ASK, stop=["three"]) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "one two "


def test_structured_answers_parse(official: openai.OpenAI) -> None:
    from pydantic import BaseModel

    class Kind(BaseModel):
        kind: str

    parsed = official.chat.completions.parse(model="echo", messages=ASK, response_format=Kind)
    assert parsed.choices[0].message.parsed == Kind(kind="json_schema")


def test_embeddings_with_dimensions_and_tokens(official: openai.OpenAI) -> None:
    found = official.embeddings.create(model="vectors", input=[[1, 2], [3]], dimensions=2)
    assert [row.embedding for row in found.data] == [[1.0, 0.0]] * 2


def test_errors_have_the_clients_classes(stage: Stage) -> None:
    replica = stage.replica("r")
    limited = "psk-limited"
    entry = KeyEntry("key-limited", "limited", hashlib.sha256(limited.encode()).hexdigest(), limits=KeyLimits(requests_per_minute=1))
    snapshot = snapshot_of(1, ("1", 1.0, [replica]), ("2", 0.0, []), limits=Limits(max_body_bytes=10_000))
    gateway = stage.gateway(replace(snapshot, keys=(KEY, entry)))

    def client(key: str) -> openai.OpenAI:
        http = httpx.Client(trust_env=False)
        return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, http_client=http, max_retries=0)

    with client(SECRET) as known, client("psk-nobody") as stranger, client(limited) as poor:
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        with pytest.raises(openai.NotFoundError) as missing:
            known.models.retrieve("nobody")
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as wrong:
            known.completions.create(model="echo", prompt="a", temperature=9)
        assert wrong.value.param == "temperature"
        with pytest.raises(openai.APIStatusError) as large:
            known.completions.create(model="echo", prompt="a" * 20_000)
        assert large.value.status_code == 413
        with pytest.raises(openai.InternalServerError):
            known.completions.create(model="echo", prompt="boom")
        poor.completions.create(model="echo", prompt="a", max_tokens=1)
        with pytest.raises(openai.RateLimitError) as limit:
            poor.completions.create(model="echo", prompt="a", max_tokens=1)
        assert int(limit.value.response.headers["retry-after"]) >= 1


def test_an_async_stream_that_is_left_stops_the_engine(stage: Stage, tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    replica = stage.replica("slow", settings={"step_s": SLOW_STEP_S, "steps_file": str(steps)})
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica])))

    async def leave() -> None:
        http = httpx.AsyncClient(trust_env=False)
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=SECRET, http_client=http, max_retries=0) as client:
            stream = await client.completions.create(model="echo", prompt=["a", "b"], n=2, max_tokens=1000, stream=True)
            count = 0
            async for _ in stream:
                count += 1
                if count == 8:
                    break
            await stream.close()

    asyncio.run(leave())
    wait_for(lambda: "penstock_replica_in_flight 0" in _metrics(replica.route.port), 3, "the end of the generation")
    taken = steps.stat().st_size
    time.sleep(4 * SLOW_STEP_S)
    assert steps.stat().st_size == taken
    assert taken < 40


def _metrics(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", **PLAIN).text


def test_feedback_on_an_answer_meets_its_record(gateway: RunningGateway, official: openai.OpenAI) -> None:
    answer = official.completions.create(model="echo", prompt="a", max_tokens=1)
    begun = time.time() - 60
    body: Any = {"id": answer.id, "thumbs": "up", "label": "fine", "comment": "write to ann@example.org"}
    first = official.post("/feedback", body=body, cast_to=httpx.Response)
    again = official.post("/feedback", body=body, cast_to=httpx.Response)
    assert first.json()["id"] == again.json()["id"]
    mine = [f for f in read_feedback(gateway.folder / "feedback", begun) if f.id == answer.id]
    assert [(f.score, f.label, f.key) for f in mine] == [(1.0, "fine", KEY.id)]
    assert mine[0].comment is not None
    assert "ann@example.org" not in mine[0].comment
    wait_for(lambda: any(row.record["id"] == answer.id for row in read_joined(gateway.folder, begun)), 5, "the record")
    [row] = [row for row in read_joined(gateway.folder, begun) if row.record["id"] == answer.id]
    assert (row.record["model"], row.score, row.label) == ("echo", 1.0, "fine")
    with pytest.raises(openai.BadRequestError):
        official.post("/feedback", body={"id": answer.id}, cast_to=httpx.Response)
    with httpx.Client(base_url=gateway.url, trust_env=False) as stranger:
        assert stranger.post("/v1/feedback", json=body).status_code == 401


@pytest.fixture(scope="module")
def langchain() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        import langchain_openai
    return langchain_openai


def wiring(gateway: RunningGateway) -> dict[str, Any]:
    """What each of LangChain's classes takes."""
    http, later = httpx.Client(trust_env=False), httpx.AsyncClient(trust_env=False)
    return {"base_url": f"{gateway.url}/v1", "api_key": SECRET, "http_client": http, "http_async_client": later, "max_retries": 0}


def test_langchain_talks_completes_and_embeds(gateway: RunningGateway, langchain: Any) -> None:
    given = wiring(gateway)
    talk = langchain.ChatOpenAI(model="echo", max_tokens=3, **given)
    said = talk.invoke("one two three")
    assert (said.content, said.usage_metadata["output_tokens"]) == ("one two three ", 3)
    assert "".join(chunk.content for chunk in talk.stream("a b")) == "a b a "
    assert [m.content for m in talk.batch(["x", "y"])] == ["x x x ", "y y y "]
    bound = talk.with_structured_output(
        {"title": "kind", "type": "object", "properties": {"kind": {"type": "string"}}}, method="json_schema"
    )
    assert bound.invoke("x") == {"kind": "json_schema"}
    told = langchain.ChatOpenAI(model="echo", max_tokens=1, logprobs=True, top_logprobs=1, **given).invoke("a")
    assert told.response_metadata["logprobs"]["content"][0]["logprob"] == -0.25
    done = langchain.OpenAI(model="echo", max_tokens=2, n=2, best_of=2, **given)
    assert [g.text for g in done.generate(["a b"]).generations[0]] == ["a b ", "b a "]
    embed = langchain.OpenAIEmbeddings(model="vectors", dimensions=2, check_embedding_ctx_length=False, **given)
    assert embed.embed_documents(["x", "y"]) == [[1.0, 0.0]] * 2

    async def later() -> str:
        text = "".join([chunk.content async for chunk in talk.astream("c d")])
        await given["http_async_client"].aclose()
        return text

    assert asyncio.run(later()) == "c d c "
    given["http_client"].close()
