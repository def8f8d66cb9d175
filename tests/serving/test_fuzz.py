"""Any JSON, and much that is none, to every route: an answer of OpenAI's shape below 500, at once, and the gateway lives on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.serving import params
from penstock.serving.errors import RequestRefused
from penstock.serving.feedback import parse_feedback
from penstock.serving.params import PARSERS
from penstock.serving.sampling import NEUTRAL
from penstock.testing.serving import SECRET, RunningGateway

MODELS = {"/v1/classify": "intents", "/v1/embeddings": "vectors", "/v1/completions": "echo", "/v1/chat/completions": "echo"}
SOUND: dict[str, dict[str, Any]] = {
    "/v1/classify": {"input": "a"},
    "/v1/embeddings": {"input": "a"},
    "/v1/completions": {"prompt": "a", "max_tokens": 2},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2},
}
FIELDS = {
    "/v1/classify": params.CLASSIFY,
    "/v1/embeddings": params.EMBED,
    "/v1/completions": params.COMPLETE,
    "/v1/chat/completions": params.CHAT,
}
NUMBERS = [0, -1, 1, 2**31, -(2**63), 2**64, 10**30, 0.5, -0.0, 1e308, -1e308, True, False]
EDGES = st.sampled_from([*NUMBERS, "", "a", "\u0000", "\ufffe", "😀" * 9, [], {}, [[]], [{}]])
LEAVES = st.none() | EDGES | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
ANY = st.recursive(LEAVES, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=8), v, max_size=4), max_leaves=12)
ROLES = st.sampled_from(["user", "tool", "assistant"])
MESSAGE = st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "tool_call_id"]), ANY | ROLES)
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@st.composite
def bodies(draw: st.DrawFn, path: str) -> dict[str, Any]:
    """A sound body with some fields replaced by anything."""
    names = sorted((FIELDS[path] | set(NEUTRAL) | {"unheard"}) - {"model"})
    changes = draw(st.dictionaries(st.sampled_from(names), ANY | st.lists(MESSAGE, max_size=3), min_size=1, max_size=3))
    return {"model": MODELS[path], **SOUND[path], **changes}


@pytest.fixture(scope="module")
def reach(gateway: RunningGateway) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {SECRET}"}
    with httpx.Client(base_url=gateway.url, headers=headers, trust_env=False, timeout=20) as found:
        yield found


def sound(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text[:500]
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert len(answer.content) < 2000


@pytest.mark.parametrize("path", sorted(PARSERS))
@given(data=st.data())
@settings(max_examples=120)
def test_parsers_take_or_refuse_anything(path: str, data: st.DataObject) -> None:
    try:
        PARSERS[path](data.draw(bodies(path)))
    except RequestRefused as refused:
        found = refused.status
    else:
        found = 200
    assert found in (200, 400)


@pytest.mark.parametrize("path", sorted(PARSERS))
@given(data=st.data())
@settings(max_examples=20, suppress_health_check=QUIET)
def test_any_fields_are_answered_below_500(path: str, data: st.DataObject, reach: httpx.Client) -> None:
    body = data.draw(bodies(path))
    limits = [body.get(name) for name in ("max_tokens", "max_completion_tokens")]
    if not any(isinstance(limit, int) and limit > 1000 for limit in limits):
        sound(reach.post(path, json=body))


@given(value=ANY)
@settings(max_examples=25, suppress_health_check=QUIET)
def test_any_json_to_any_route_is_answered_below_500(value: Any, reach: httpx.Client) -> None:
    for path in (*PARSERS, "/v1/feedback", "/v1/models", "/nowhere"):
        sound(reach.post(path, json=value))


@given(value=st.dictionaries(st.sampled_from(["id", "score", "thumbs", "label", "correction", "comment", "user", "more"]), ANY))
def test_feedback_takes_or_refuses_anything(value: dict[str, Any]) -> None:
    try:
        found = parse_feedback({"id": "r", **value}, "k", 1.0).score
    except RequestRefused:
        found = None
    assert found is None or -1 <= found <= 1


@pytest.mark.parametrize("nonsense", [0, -1, 1.5, "3", 10**9])
def test_a_limit_that_gives_way_to_another_one_is_still_looked_at(nonsense: Any) -> None:
    asked = {"model": "echo", "messages": [{"role": "user", "content": "a"}], "max_completion_tokens": 3}
    assert params.chat(asked | {"max_tokens": 5}).requests[0].max_tokens == 3
    with pytest.raises(RequestRefused, match="max_tokens"):
        params.chat(asked | {"max_tokens": nonsense})


FORM = b'{"model": "echo", "prompt": "a", "response_format": {"type": "json_schema", "json_schema": {"schema": '
DEEP = FORM + b'{"a":' * 900 + b"1" + b"}" * 903
ODD = [
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"{",
    b"\xff\xfe{}",
    b'{"model": "echo", "prompt": "\xc3\x28"}',
    b'{"model": "echo", "prompt": "\\ud800"}',
    b'{"model": "echo", "prompt": "a", "temperature": NaN}',
    b'{"model": "echo", "prompt": "a", "temperature": 1e999}',
    b'{"model": "echo", "prompt": "a", "max_tokens": -99999999999999999999999999}',
    b'{"model": "echo", "prompt": "a", "max_tokens": 1' + b"0" * 5000 + b"}",
    b'{"model": "echo", "prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"model": "echo", "prompt": "a", "stop": ' + json.dumps([f"s{n}" for n in range(10_000)]).encode() + b"}",
    b'{"model": "echo", "prompt": "a", "stop": "' + b"s" * 100_000 + b'"}',
    b'{"model": "' + b"m" * 100_000 + b'", "prompt": "a"}',
    b'{"' + b"k" * 100_000 + b'": 1, "model": "echo", "prompt": "a"}',
    b'{"model": "echo:", "prompt": "a"}',
    b'{"model": "echo:../..", "prompt": "a"}',
    b'{"model": ["echo"], "prompt": "a"}',
    DEEP,
]


@pytest.mark.parametrize("number", range(len(ODD)))
def test_odd_bodies_are_answered_below_500(number: int, reach: httpx.Client) -> None:
    for path in ("/v1/completions", "/v1/feedback"):
        answer = reach.post(path, content=ODD[number], headers={"content-type": "application/json"})
        sound(answer)
        assert answer.status_code in (400, 404), answer.text[:200]
    long = {"model": "echo", "prompt": [7] * 100_000, "max_tokens": 1, "user": "\x00"}
    assert reach.post("/v1/completions", json=long).status_code == 200
