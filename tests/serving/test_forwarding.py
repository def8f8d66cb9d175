"""Bodies that are only passed on: what changes in them, what does not, and streams cut at any byte."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.digests import digest_file
from penstock.engines import bundle_file
from penstock.engines.bundle_file import BundleFile
from penstock.engines.upstream_server import NAME
from penstock.engines.upstream_server import Server as ServerFile
from penstock.serving.errors import RequestRefused
from penstock.serving.forwarding import Forward, forwarding
from penstock.testing.plain import PLAIN
from penstock.testing.serving import SECRET, Stage, snapshot_of

IDENTITY = {"id": "req-1", "model": "ours"}
PATH = "/v1/chat/completions"


class Server:
    """Answers `pieces`; keeps the body that it got."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.body = pieces, {}

    async def forward(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[bytes]:
        assert path == PATH
        self.body = dict(body)
        for piece in self.pieces:
            yield piece


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def streamed(server: Server, body: dict[str, Any]) -> tuple[list[Any], Forward]:
    async def scenario() -> tuple[list[bytes], Forward]:
        forward = Forward(server, PATH, body, IDENTITY)  # type: ignore[arg-type]  # it has what is used
        return [piece async for piece in forward.events()], forward

    found, forward = asyncio.run(scenario())
    assert all(piece.startswith(b"data: ") and piece.endswith(b"\n\n") for piece in found)
    return [json.loads(piece[6:]) for piece in found], forward


def test_a_body_goes_as_it_came_and_the_answer_bears_our_names() -> None:
    answer = {"id": "theirs", "model": "llama", "usage": {"prompt_tokens": 3, "completion_tokens": 4}, "new": {"deep": [1]}}
    whole = json.dumps(answer).encode()
    server = Server(whole[:20], whole[20:])
    body = {
        "model": "ours",
        "messages": [{"role": "user", "content": [{"type": "image_url"}]}],
        "min_p": 0.1,
        "chat_template_kwargs": {"x": 1},
    }
    forward = Forward(server, PATH, body, IDENTITY)  # type: ignore[arg-type]
    assert json.loads(asyncio.run(forward.whole())) == {**answer, "id": "req-1", "model": "ours"}
    assert server.body == body
    assert forward.used == (3, 4)


def test_only_stream_is_read() -> None:
    with pytest.raises(RequestRefused) as refused:
        Forward(Server(), PATH, {"stream": "yes"}, IDENTITY)  # type: ignore[arg-type]
    assert refused.value.param == "stream"


def test_usage_is_counted_and_hidden_from_who_did_not_ask() -> None:
    text = {"id": "theirs", "model": "llama", "choices": [{"index": 0, "delta": {"content": "a"}}], "usage": None}
    last = {"id": "theirs", "model": "llama", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}}
    pieces = event(text) + b": a remark\n\n" + event(last) + b"data: [DONE]\n\n"
    server = Server(pieces)
    found, forward = streamed(server, {"model": "ours", "stream": True})
    assert server.body["stream_options"] == {"include_usage": True}
    assert found == [{"id": "req-1", "model": "ours", "choices": text["choices"]}]
    assert forward.used == (5, 6)
    asked = {"model": "ours", "stream": True, "stream_options": {"include_usage": True}}
    found, forward = streamed(Server(pieces), asked)
    assert [e["usage"] for e in found] == [None, last["usage"]]
    assert forward.used == (5, 6)


@given(cuts=st.lists(st.integers(0, 400), max_size=8), ending=st.sampled_from([b"\n\n", b"\r\n\r\n", b"\n"]))
def test_a_stream_cut_anywhere_is_the_same(cuts: list[int], ending: bytes) -> None:
    values = [{"id": "x", "choices": [{"index": 0, "text": "ä\n😀"}]}, {"choices": [{"index": 1, "text": "data: [DONE]"}]}]
    whole = b"".join(b"data: " + json.dumps(v, ensure_ascii=False).encode() + ending for v in values) + b"data: [DONE]"
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [whole[a:b] for a, b in itertools.pairwise(places)]
    found, _ = streamed(Server(*pieces), {"stream": True})
    assert found == [{**values[0], "id": "req-1"}, values[1]]


@pytest.mark.parametrize("garbage", [b"<html>", b"data: {\n\n", b'data: {"a": NaN}\n\n'])
def test_what_is_no_json_is_no_answer(garbage: bytes) -> None:
    with pytest.raises(RuntimeError, match="no JSON"):
        asyncio.run(Forward(Server(garbage), PATH, {}, IDENTITY).whole())  # type: ignore[arg-type]
    if garbage.startswith(b"data"):
        with pytest.raises(RuntimeError, match="no JSON"):
            streamed(Server(garbage), {"stream": True})


def test_engines_that_do_not_forward_are_told_apart() -> None:
    class Plain: ...

    assert forwarding(Plain()) is None  # type: ignore[arg-type]
    assert forwarding(Server()) is not None  # type: ignore[arg-type]


def test_a_server_of_another_make_serves_behind_the_gateway(stage: Stage) -> None:
    """The server is a replica of ours; what stands before it takes it for any OpenAI-compatible one."""
    behind = stage.replica("behind", "llama", settings={"tools": True})
    folder = stage.folder / "bundle"
    folder.mkdir()
    (folder / NAME).write_bytes(ServerFile(f"http://127.0.0.1:{behind.route.port}", "llama", None).data())
    files = {NAME: digest_file(folder / NAME)}
    (folder / bundle_file.NAME).write_bytes(BundleFile("m", "text-generation", "upstream", "-", 0, (), files, {}).data())
    front = stage.replica("front", "ours", bundle=str(folder), engine_class=None)
    gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [front]), model="ours"))
    http = httpx.Client(trust_env=False)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRET, http_client=http, max_retries=0) as client:
        tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        ask: Any = {"model": "ours", "messages": [{"role": "user", "content": "a b"}], "max_tokens": 3, "tools": [tool]}
        whole = client.chat.completions.create(**ask, n=2, logprobs=True)
        assert (whole.model, [c.message.content for c in whole.choices]) == ("ours", ["a b a ", "b a b "])
        assert whole.id.startswith("req-")
        chunks = list(client.chat.completions.create(**ask, stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == "a b a "
        assert {(c.model, c.usage) for c in chunks} == {("ours", None)}
        with pytest.raises(openai.BadRequestError, match="min_p") as refused:
            client.chat.completions.create(**ask, extra_body={"min_p": 0.1})
        assert refused.value.code == "upstream_refused"
        with pytest.raises(openai.BadRequestError, match="must be one of"):
            client.chat.completions.create(model="ours", messages=[{"role": "wizard", "content": "x"}], stream=True)  # type: ignore[list-item]
    metrics = httpx.get(f"{gateway.url}/metrics", **PLAIN).text
    assert 'penstock_tokens_total{model="ours",version="1",direction="completion"} 9' in metrics
    told = httpx.get(f"http://127.0.0.1:{behind.route.port}/metrics", **PLAIN).text
    assert "penstock_replica_engine_requests 6" in told  # its own warm-up, one of the replica before it, and two of ours
