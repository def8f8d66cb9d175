"""Many requests in one body, as batch services send them: answers in order, one that fails told beside the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.platforms.function.events import Call
from penstock.platforms.function.function import Function
from penstock.serving.replica import ReplicaSpec
from penstock.testing.serving import ECHO

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    settings = {"task": "text-classification"}
    made = Function(ReplicaSpec("1-f", str(tmp_path), "sha256:" + "0" * 64, "m", "1", "", settings=settings, engine_class=ECHO))

    def asked(*instances: Any, path: str = "/predict") -> tuple[int, Any]:
        held = made.ask(Call("POST", path, {}, json.dumps({"instances": instances}).encode(), False), 30.0)
        return held.status, json.loads(held.body)

    yield asked
    made.close()


def order(row: int, body: Any, path: str | None = None) -> dict[str, Any]:
    return {"row": str(row), "body": json.dumps(body), **({"path": path} if path else {})}


def test_plain_bodies_are_answered_by_plain_answers(ask: Ask) -> None:
    one, two = {"model": "m", "input": ["a card"]}, {"model": "m", "input": ["a transfer"], "top_k": 2}
    status, answer = ask(one, two)
    assert status == 200
    assert [len(prediction["data"][0]["labels"]) for prediction in answer["predictions"]] == [3, 2]
    status, answer = ask(one, {"model": "m", "input": ["x"], "top_k": "many"})
    assert (status, answer["error"]["param"]) == (400, "top_k")
    assert ask() == (200, {"predictions": []})


def test_of_orders_each_is_told_its_own_end(ask: Ask) -> None:
    """The body is text, and the answer too: what reads JSON in between changes no number."""
    good = order(7, {"model": "m", "input": ["a card"]})
    bad = order(8, {"model": "m", "input": ["boom"]}, "/v1/classify")
    lost = order(9, {"model": "m", "input": ["x"]}, "/metrics")
    broken = {"row": "10", "body": "{no json"}
    streamed = order(11, {"model": "m", "prompt": "x", "stream": True}, "/v1/completions")
    status, answer = ask(good, bad, lost, broken, streamed, path="/invocations")
    assert status == 200
    rows = [(row["row"], row["status"]) for row in answer["predictions"]]
    assert rows == [("7", 200), ("8", 500), ("9", 400), ("10", 400), ("11", 400)]
    assert json.loads(answer["predictions"][0]["body"])["data"][0]["label"]
    assert "stream" in answer["predictions"][4]["body"]


def test_a_hundred_at_once_keep_their_order(ask: Ask) -> None:
    status, answer = ask(*(order(n, {"model": "m", "input": [f"text {n}"]}) for n in range(100)))
    assert status == 200
    assert [row["row"] for row in answer["predictions"]] == [str(n) for n in range(100)]
