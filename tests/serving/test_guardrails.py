"""Guards on requests and answers: every route's texts, the three actions, streams cut anywhere, and what flags and refusals say."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.errors import RequestRefused
from penstock.serving.guard_stream import OutputGuard
from penstock.serving.guardrails import Guards, RequestBlocked
from penstock.serving.snapshot import Guard

CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"
MASK = Guards([Guard("personal_data", "mask")])
TEXT = "Write to bob.jones@example.com or call +41 62 585 51 90, ok? My card 4111 1111 1111 1111 is at https://x.example/a?b=c today."
MASKED = "Write to [EMAIL] or call [PHONE], ok? My card [CARD] is at [URL] today."


def event(piece: str | None, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if piece is None else {"content": piece}
    choice = {"index": index, "delta": delta, "finish_reason": finish, **more}
    return b"data: " + json.dumps({"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}).encode() + b"\n\n"


def read(stream: bytes) -> list[dict[str, Any]]:
    """The JSON events of a stream; it must be well framed."""
    assert stream.endswith(b"\n\n") or not stream
    events = [e for e in stream.split(b"\n\n") if e]
    assert all(e.startswith(b"data: ") for e in events)
    return [json.loads(e[6:]) for e in events if e != b"data: [DONE]"]


def said(stream: bytes, index: int = 0) -> str:
    choices = [c for e in read(stream) for c in e["choices"] if c["index"] == index]
    return "".join(c["delta"].get("content") or "" for c in choices)


def guard(guards: Guards, path: str = CHAT, stream: bool = True) -> OutputGuard:
    made = guards.output(path, stream)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("/v1/classify", {"input": "to a@b.io"}, {"input": "to [EMAIL]"}),
        ("/v1/classify", {"input": ["a@b.io", "x"], "top_k": 1}, {"input": ["[EMAIL]", "x"], "top_k": 1}),
        ("/v1/embeddings", {"input": ["a@b.io"]}, {"input": ["[EMAIL]"]}),
        (COMPLETE, {"prompt": "a@b.io", "suffix": "c@d.io"}, {"prompt": "[EMAIL]", "suffix": "[EMAIL]"}),
        (COMPLETE, {"prompt": ["x", "a@b.io"]}, {"prompt": ["x", "[EMAIL]"]}),
        (CHAT, {"messages": [{"role": "user", "content": "a@b.io"}]}, {"messages": [{"role": "user", "content": "[EMAIL]"}]}),
        (
            CHAT,
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "a@b.io"}, {"type": "image_url", "image_url": {"url": "x"}}]}
                ]
            },
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "[EMAIL]"}, {"type": "image_url", "image_url": {"url": "x"}}]}
                ]
            },
        ),
        (
            CHAT,
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"n": 4111111111111111}'}}]}
                ]
            },
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"n":"[CARD]"}'}}]}]},
        ),
    ],
)
def test_every_text_of_a_request_is_masked(path: str, value: dict[str, Any], expected: dict[str, Any]) -> None:
    before = json.dumps(value)
    checked = MASK.input(path, value)
    assert checked.value == expected
    assert checked.changed
    assert json.dumps(value) == before, "the request that came in is left as it was"


def test_a_clean_request_goes_on_as_the_same_object() -> None:
    value = {"messages": [{"role": "user", "content": "nothing to see"}]}
    checked = MASK.input(CHAT, value)
    assert checked.value is value
    assert (checked.changed, checked.flags) == (False, ())


@pytest.mark.parametrize("value", [{"messages": 3}, {"messages": [None, "x", {"content": 7}]}, {"messages": [{"tool_calls": [1]}]}, {}])
def test_shapes_that_are_not_the_apis_are_left_to_the_replica(value: dict[str, Any]) -> None:
    assert MASK.input(CHAT, value).value is value


def test_flags_name_kind_and_count_and_never_the_text() -> None:
    checked = MASK.input(CHAT, {"messages": [{"role": "user", "content": TEXT}, {"role": "user", "content": "a@b.io"}]})
    assert checked.flags == ("input:personal_data:mask:card=1,email=2,phone=1,url=1",)


def test_a_block_names_the_check_and_never_quotes_the_text() -> None:
    guards = Guards([Guard("personal_data", "flag"), Guard("words", "block", words=("secret sauce",))])
    with pytest.raises(RequestBlocked) as refused:
        guards.input(COMPLETE, {"prompt": "the SECRET  sáuce of a@b.io"})
    assert (refused.value.status, refused.value.code) == (400, "content_blocked")
    assert "sauce" not in refused.value.message.lower()
    assert refused.value.flags == ("input:personal_data:flag:email=1", "input:words:block:word=1")


def test_token_ids_cannot_pass_a_check() -> None:
    with pytest.raises(RequestRefused) as refused:
        MASK.input("/v1/embeddings", {"input": [[1, 2, 3]]})
    assert (refused.value.status, refused.value.param) == (400, "input")
    assert Guards([Guard("personal_data", "flag")]).input("/v1/embeddings", {"input": [1, 2]}).flags == ()


def test_sides_and_routes() -> None:
    only_out = Guards([Guard("personal_data", "mask", on="output")])
    assert only_out.input(COMPLETE, {"prompt": "a@b.io"}).changed is False
    assert only_out.looks_at_input is False
    assert only_out.output(CHAT, True) is not None
    assert only_out.output("/v1/classify", False) is None
    assert Guards([Guard("personal_data", "mask", on="input")]).output(CHAT, True) is None


@pytest.mark.parametrize("seed", range(40))
def test_a_stream_cut_anywhere_is_masked_like_the_whole_text(seed: int) -> None:
    chance = random.Random(seed)
    made, out, stream, at = guard(MASK), b"", b"", 0
    while at < len(TEXT):
        step = chance.choice((1, 2, 3, 5, 9, 30))
        stream += event(TEXT[at : at + step])
        at += step
    stream += event(None, finish="stop") + b"data: [DONE]\n\n"
    at = 0
    while at < len(stream):  # the network cuts where it likes
        step = chance.choice((1, 7, 100, 1000))
        out += made.feed(stream[at : at + step])
        at += step
    out += made.end()
    assert said(out) == MASKED
    assert out.endswith(b"data: [DONE]\n\n")
    assert [c["finish_reason"] for e in read(out) for c in e["choices"]][-1] == "stop"
    assert made.flags == ("output:personal_data:mask:card=1,email=1,phone=1,url=1",)


def test_choices_do_not_mix() -> None:
    made = guard(MASK)
    out = b""
    for a, b in zip("bob@x.example", "nothing here ", strict=True):
        out += made.feed(event(a, 0) + event(b, 1))
    out += made.feed(event(None, 0, "stop") + event(None, 1, "stop"))
    assert (said(out, 0), said(out, 1)) == ("[EMAIL]", "nothing here ")


def test_ordinary_words_do_not_wait_for_the_end() -> None:
    made = guard(MASK)
    early = said(made.feed(event("The quick brown fox jumps over the lazy dog. ")))
    assert early == "The quick brown fox jumps over the lazy dog. "


def test_what_waits_is_bounded_and_a_long_finding_is_masked_whole() -> None:
    made, out, most = guard(MASK), b"", 0
    for number in range(400):
        out += made.feed(event("https://x.example/" if number == 0 else "abcdefghij"))
        most = max(most, (number + 1) * 10 + 18 - len(said(out)))
    out += made.feed(event(" end")) + made.end()
    assert said(out) == "[URL] end"


def test_a_block_ends_the_stream_with_content_filter() -> None:
    made = guard(Guards([Guard("words", "block", words=("secret sauce",))]))
    out = (
        made.feed(event("The recipe of the sec"))
        + made.feed(event("ret sau"))
        + made.feed(event("ce is this"))
        + made.feed(event(" and more"))
    )
    assert said(out) == "The recipe of the "
    assert read(out)[-1]["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "content_filter"}]
    assert out.endswith(b"data: [DONE]\n\n")
    assert made.blocked
    assert made.feed(event("x")) == made.end() == b""
    assert made.flags == ("output:words:block:word=1",)


def test_a_guard_that_flags_changes_no_byte() -> None:
    made = guard(Guards([Guard("personal_data", "flag")]))
    stream = b": ping\n\n" + event("bob@x.") + event("example") + event(None, finish="stop") + b"data: [DONE]\n\n"
    assert made.feed(stream) + made.end() == stream
    assert made.flags == ("output:personal_data:flag:email=1",)


def test_usage_errors_and_comments_pass() -> None:
    made = guard(MASK)
    usage = b'data: {"id":"c1","choices":[],"usage":{"total_tokens":3}}\n\n'
    error = b'data: {"error":{"message":"lost"}}\n\n'
    assert made.feed(b": ping\n\n" + usage + error) == b": ping\n\n" + usage + error


def test_logprobs_do_not_spell_what_is_masked() -> None:
    out = guard(MASK).feed(event("hi bob@x.example ", logprobs={"content": [{"token": "bob@x.example"}]}))
    assert b"bob" not in out


def test_tool_arguments_in_a_stream_stay_json() -> None:
    made, out = guard(MASK), b""
    text = '{"card": 4111111111111111, "to": "bob@x.example"}'
    for at in range(0, len(text), 4):
        delta = {"tool_calls": [{"index": 0, "function": {"arguments": text[at : at + 4]}}]}
        out += made.feed(b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}).encode() + b"\n\n")
    out += made.feed(event(None, finish="tool_calls"))
    pieces = [c["delta"]["tool_calls"][0]["function"]["arguments"] for e in read(out) for c in e["choices"] if c["delta"].get("tool_calls")]
    assert json.loads("".join(pieces)) == {"card": "[CARD]", "to": "[EMAIL]"}


def test_whole_answers() -> None:
    answer = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    }
    body = json.dumps(answer).encode()
    assert json.loads(guard(MASK, stream=False).whole(body))["choices"][0]["message"]["content"] == MASKED
    made = guard(Guards([Guard("personal_data", "block", types=("card",))]), stream=False)
    choice = json.loads(made.whole(body))["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("content_filter", "")
    assert guard(Guards([Guard("words", "mask", words=("absent",))]), stream=False).whole(body) is body
    completion = json.dumps({"object": "text_completion", "choices": [{"index": 0, "text": "a@b.io", "finish_reason": "stop"}]}).encode()
    assert json.loads(guard(MASK, COMPLETE, stream=False).whole(completion))["choices"][0]["text"] == "[EMAIL]"


def test_an_answer_that_cannot_be_read_does_not_pass_unchecked() -> None:
    with pytest.raises(RequestRefused) as refused:
        guard(MASK, stream=False).whole(b"\xff not json")
    assert refused.value.status == 502
    for event_ in (b"data: {half\n\n", b'data: {"delta": {"text": "a@b.io"}}\n\n', b"a@b.io\n\n", b"[DONE]" + event("a@b.io")):
        with pytest.raises(RequestRefused):
            guard(MASK).feed(event_)
    assert guard(MASK).feed(b"event: x\nid: 3\n\n") == b"event: x\nid: 3\n\n"


PIECES = [b"data: ", b"\n\n", b"[DONE]", b'{"choices":[', b"]}", b'{"delta":', event("to a@b.io ")]


@given(st.lists(st.binary(max_size=60) | st.sampled_from(PIECES), max_size=30))
def test_whatever_a_replica_sends_is_passed_or_refused(pieces: list[bytes]) -> None:
    made = guard(MASK)
    try:
        out = b"".join(made.feed(piece) for piece in pieces) + made.end()
    except RequestRefused as refused:
        out = refused.body()
    assert made.blocked is False
    assert b"to a@b.io " not in out


@pytest.mark.parametrize(
    "choice",
    [
        {"delta": None},
        {"delta": {"content": None, "tool_calls": None}},
        {"delta": {"tool_calls": [None, {"function": None}, {"index": "x", "function": {"arguments": 3}}]}},
        {"index": "0", "text": 5},
        {"delta": {"content": 7}, "finish_reason": "stop"},
        None,
    ],
)
def test_odd_chunks_do_no_harm(choice: Any) -> None:
    made = guard(MASK)
    chunk = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    out = made.feed(chunk + event("to a@b.io", finish="stop")) + made.end()
    assert b"[EMAIL]" in out
    assert isinstance(guard(MASK, stream=False).whole(json.dumps({"choices": [choice]}).encode()), bytes)
