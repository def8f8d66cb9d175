"""The two generation routes in every shape that OpenAI's clients ask for, against a replica process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from penstock.serving.schemas import SHARED
from penstock.testing.serving import Stage

Answer = dict[str, Any]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with Stage(tmp_path_factory.mktemp("generation")) as stage:
        found = stage.replica("gen", settings={"tools": True})
        with httpx.Client(base_url=f"http://127.0.0.1:{found.route.port}", trust_env=False) as client:
            yield client


def ask(client: httpx.Client, **fields: Any) -> Answer:
    answer = client.post("/v1/completions", json={"model": "echo", **fields})
    assert answer.status_code == 200, answer.text
    found: Answer = answer.json()
    fits("Completion", found)
    return found


def chat(client: httpx.Client, **fields: Any) -> Answer:
    body = {"model": "echo", "messages": [{"role": "user", "content": "a b c"}], **fields}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    found: Answer = answer.json()
    fits("ChatCompletion", found)
    return found


def fits(schema: str, value: Answer) -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": {"schemas": SHARED}}).validate(value)


def events(client: httpx.Client, path: str, **fields: Any) -> list[Answer]:
    """The objects of a stream, which must end well."""
    with client.stream("POST", path, json={"model": "echo", "stream": True, **fields}) as answer:
        assert answer.status_code == 200, answer.read()
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def texts(answer: Answer) -> list[str]:
    assert [c["index"] for c in answer["choices"]] == list(range(len(answer["choices"])))
    return [c["text"] for c in answer["choices"]]


def test_n_choices_of_each_prompt_are_numbered_in_the_order_of_prompts(replica: httpx.Client) -> None:
    assert texts(ask(replica, prompt="a b", n=2, best_of=2, max_tokens=2)) == ["a b ", "b a "]
    answer = ask(replica, prompt=["a b", "c d e"], n=2, max_tokens=2)
    assert texts(answer) == ["a b ", "b a ", "c d ", "d e "]
    assert answer["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 8,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    assert [c["message"]["content"] for c in chat(replica, n=3, max_tokens=1)["choices"]] == ["a ", "b ", "c "]


def test_prompts_may_be_token_ids(replica: httpx.Client) -> None:
    assert texts(ask(replica, prompt=[7, 8], max_tokens=2)) == ["t7 t8 "]
    assert texts(ask(replica, prompt=[[7], [8, 9]], max_tokens=2)) == ["t7 t7 ", "t8 t9 "]


def test_a_broken_prompt_among_several_refuses_all_and_ends_the_others(replica: httpx.Client) -> None:
    answer = replica.post("/v1/completions", json={"model": "echo", "prompt": ["a", "b\x00"], "max_tokens": 100_000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_input")
    assert replica.get("/healthz").json()["in_flight"] == 0


def test_logprobs_of_completions(replica: httpx.Client) -> None:
    told = ask(replica, prompt="aa b", max_tokens=3, logprobs=1)["choices"][0]["logprobs"]
    assert told["tokens"] == ["aa ", "b ", "aa "]
    assert told["token_logprobs"] == [-0.25] * 3
    assert told["text_offset"] == [0, 3, 5]
    assert told["top_logprobs"][0] == {"likelier": -0.125, "aa ": -0.25}
    none_besides = ask(replica, prompt="aa b", max_tokens=1, logprobs=0)["choices"][0]["logprobs"]
    assert (none_besides["token_logprobs"], none_besides["top_logprobs"]) == ([-0.25], None)
    assert ask(replica, prompt="a", max_tokens=1)["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("written", [0, 1])
def test_echo_scores_the_prompt(replica: httpx.Client, written: int) -> None:
    """As lm-eval asks: tokens of the prompt first, the first of them without a likelihood."""
    answer = ask(replica, prompt=[5, 6, 7], max_tokens=written, logprobs=1, echo=True)
    [choice] = answer["choices"]
    assert choice["text"] == "t5 t6 t7" + "t5 " * written
    assert choice["logprobs"]["tokens"] == ["t5", "t6", "t7", *["t5 "] * written]
    assert choice["logprobs"]["token_logprobs"] == [None, -0.25, -0.25, *[-0.25] * written]
    assert choice["logprobs"]["top_logprobs"][0] is None
    assert choice["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == written
    streamed = events(replica, "/v1/completions", prompt=[5, 6, 7], max_tokens=written, logprobs=1, echo=True)
    assert "".join(e["choices"][0]["text"] for e in streamed) == choice["text"]
    assert [e["choices"][0]["finish_reason"] for e in streamed] == [None] * (len(streamed) - 1) + ["length"]


def test_logprobs_of_chats(replica: httpx.Client) -> None:
    [choice] = chat(replica, max_tokens=2, logprobs=True, top_logprobs=2)["choices"]
    content = choice["logprobs"]["content"]
    assert [(t["token"], t["logprob"], t["bytes"]) for t in content] == [("a ", -0.25, [97, 32]), ("b ", -0.25, [98, 32])]
    assert [t["token"] for t in content[0]["top_logprobs"]] == ["likelier", "other1"]
    assert chat(replica, max_tokens=1, logprobs=True)["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []
    refused = replica.post(
        "/v1/chat/completions", json={"model": "echo", "messages": [{"role": "user", "content": "a"}], "top_logprobs": 2}
    )
    assert refused.json()["error"]["param"] == "top_logprobs"


def test_streams_tell_choices_logprobs_and_usage_apart(replica: httpx.Client) -> None:
    found = events(
        replica,
        "/v1/completions",
        prompt=["a b", "c"],
        n=2,
        max_tokens=3,
        logprobs=1,
        stream_options={"include_usage": True},
    )
    *pieces, last = found
    said = {index: "".join(e["choices"][0]["text"] for e in pieces if e["choices"][0]["index"] == index) for index in range(4)}
    assert said == {0: "a b a ", 1: "b a b ", 2: "c c c ", 3: "c c c "}
    offsets = [o for e in pieces if e["choices"][0]["index"] == 1 for o in e["choices"][0]["logprobs"]["text_offset"]]
    assert offsets == [0, 2, 4]
    assert all(e["usage"] is None for e in pieces)
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 12)
    deltas = events(replica, "/v1/chat/completions", messages=[{"role": "user", "content": "x y"}], n=2, max_tokens=2)
    roles = [e["choices"][0]["index"] for e in deltas if e["choices"][0]["delta"].get("role") == "assistant"]
    assert sorted(roles) == [0, 1]
    assert "usage" not in deltas[0]
    assert {e["choices"][0]["finish_reason"] for e in deltas} == {None, "length"}


def test_answers_bound_to_a_form(replica: httpx.Client) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
    assert chat(replica, response_format={"type": "text"}, max_tokens=1)["choices"][0]["message"]["content"] == "a "
    said = [chat(replica, response_format=form)["choices"][0] for form in ({"type": "json_object"}, schema)]
    assert [json.loads(c["message"]["content"])["kind"] for c in said] == ["json", "json_schema"]
    assert json.loads(texts(ask(replica, prompt="a", structured_outputs={"json": {"type": "object"}}))[0]) == {"kind": "json_schema"}
    refused = replica.post("/v1/completions", json={"model": "echo", "prompt": "a", "structured_outputs": {"regex": "[ab]+"}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_input")


def test_tools_reach_the_engine_or_are_refused(replica: httpx.Client, tmp_path: Any) -> None:
    call = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    talk = [
        {"role": "user", "content": "how warm is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call-1", "content": "21 degrees"},
    ]
    assert chat(replica, messages=talk, tools=[TOOL], tool_choice="auto", max_tokens=2)["choices"][0]["message"]["content"] == "21 degrees "

    def refused(client: httpx.Client, **fields: Any) -> tuple[int, str, str | None]:
        answer = client.post("/v1/chat/completions", json={"model": "echo", "messages": talk[:1], **fields})
        error = answer.json()["error"]
        return answer.status_code, error["code"], error["param"]

    forced = {"type": "function", "function": {"name": "weather"}}
    assert refused(replica, tools=[TOOL], tool_choice=forced) == (400, "unsupported_value", "tool_choice")
    assert refused(replica, tools=[{"type": "function"}]) == (400, "invalid_value", "tools[0]")
    assert refused(replica, messages=[{"role": "tool", "content": "x"}]) == (400, "invalid_value", "messages[0].tool_call_id")
    assert refused(replica, messages=[{**talk[1], "role": "user"}])[2] == "messages[0].tool_calls"
    with Stage(tmp_path) as stage:
        plain = stage.replica("plain")
        with httpx.Client(base_url=f"http://127.0.0.1:{plain.route.port}", trust_env=False) as client:
            assert refused(client, tools=[TOOL]) == (400, "bad_input", None)
            assert client.post(
                "/v1/chat/completions", json={"model": "echo", "messages": talk[:1], "tools": [TOOL], "tool_choice": "none"}
            ).is_success


def test_embeddings_of_tokens_and_fewer_dimensions(tmp_path: Any) -> None:
    with Stage(tmp_path) as stage:
        found = stage.replica("emb", settings={"task": "embedding"})
        with httpx.Client(base_url=f"http://127.0.0.1:{found.route.port}", trust_env=False) as client:

            def embed(**fields: Any) -> httpx.Response:
                return client.post("/v1/embeddings", json={"model": "echo", **fields})

            two = embed(input=[[1, 2, 3], [4]], dimensions=2).json()
            assert [row["embedding"] for row in two["data"]] == [[1.0, 0.0]] * 2
            assert two["usage"]["prompt_tokens"] == 4
            fits("Embeddings", two)
            assert len(embed(input=[1, 2]).json()["data"]) == 1
            assert embed(input="x", dimensions=4).json()["error"]["code"] == "bad_input"
            assert embed(input=[[1], []]).json()["error"]["param"] == "input[1]"
            assert embed(input="x", dimensions=0).json()["error"]["param"] == "dimensions"
