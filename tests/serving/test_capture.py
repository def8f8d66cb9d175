"""What is read from requests and answers, and which requests are kept."""

from __future__ import annotations

import json

import pytest

from penstock.serving.capture import MAX_CHARS, MAX_OUTPUT, Captured, answered, asked, captured
from penstock.serving.snapshot import Capture


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"prompt": "hello"}, "hello"),
        ({"prompt": ["a", "b"]}, "a\nb"),
        ({"prompt": [1, 2, 3]}, None),
        ({"input": "x"}, "x"),
        ({"input": ["x", "y"]}, "x\ny"),
        (
            {"messages": [{"role": "system", "content": "be"}, {"role": "user", "content": [{"type": "text", "text": "go"}]}]},
            "system: be\nuser: go",
        ),
        ({"messages": "nonsense"}, None),
        ({}, None),
        ([1], None),
    ],
)
def test_what_was_asked(body: object, text: str | None) -> None:
    assert asked(json.dumps(body).encode()) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"choices": [{"index": 0, "message": {"content": "hi"}}, {"index": 1, "message": {"content": "no"}}]}, "hi"),
        ({"choices": [{"index": 0, "text": "hi"}]}, "hi"),
        ({"choices": [{"index": 0, "message": {"content": None, "tool_calls": []}}]}, None),
        ({"data": [{"label": "a", "labels": [{"label": "a", "score": 0.75}, {"label": "b", "score": 0.25}]}]}, "a=0.750 b=0.250"),
        ({"data": [{"embedding": [1.0]}]}, None),
        ({"error": {"message": "m"}}, None),
    ],
)
def test_what_was_answered(body: object, text: str | None) -> None:
    assert answered(json.dumps(body).encode()) == text


def test_garbage_is_no_text() -> None:
    for body in (b"", b"\xff\xfe", b"{", b"data: {\n\ndata: [1]\n\n", b'data: {"choices": [3]}\n\n', b'{"choices": [null, {"delta": 3}]}'):
        assert asked(body) is None
        assert answered(body) is None


def test_texts_and_pieces_are_bounded() -> None:
    assert asked(json.dumps({"prompt": "a" * 50_000 + "z"}).encode()) == "a" * MAX_CHARS
    told = asked(json.dumps({"messages": [{"role": "user", "content": "a" * 50_000 + "z"}]}).encode())
    assert told is not None
    assert (len(told), told[-1]) == (MAX_CHARS, "z")
    texts = Captured(b"{}")
    for _ in range(1000):
        texts.add(b"x" * 1024)
    assert texts.size == MAX_OUTPUT + 2


def test_a_share_of_requests_is_kept_by_their_ids() -> None:
    ids = [f"req-{n}" for n in range(4000)]
    kept = [ident for ident in ids if captured(Capture(sample=0.25), ident, b"") is not None]
    assert 850 < len(kept) < 1150
    assert kept == [ident for ident in ids if captured(Capture(sample=0.25), ident, b"") is not None]
    assert all(captured(Capture(), ident, b"") is not None for ident in ids[:100])
    assert captured(None, "req-1", b"") is None
