"""The handler over a real replica without a socket: the same answers as over HTTP, errors in the API's shape, deadlines."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.platforms.function.function import Function
from penstock.platforms.function.lambdas import handler_of
from penstock.serving.replica import ReplicaSpec
from penstock.testing.plain import PLAIN
from penstock.testing.serving import ECHO, Stage

Handler = Callable[[Any, Any], Any]


@dataclass
class Context:
    aws_request_id: str = "8f5e2a6c-0000-4000-8000-000000000000"
    left_ms: int = 30_000

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


def spec(folder: Path, **settings: Any) -> ReplicaSpec:
    settings = {"task": "text-classification", **settings}
    digest = "sha256:" + "0" * 64
    return ReplicaSpec("1-f", str(folder), digest, "intents", "1", str(folder / "ready.json"), settings=settings, engine_class=ECHO)


@pytest.fixture
def function(tmp_path: Path) -> Iterator[Function]:
    made = Function(spec(tmp_path))
    yield made
    made.close()


@pytest.fixture
def handler(function: Function) -> Handler:
    return handler_of(function)


def web(path: str, body: Any = None, method: str = "POST", **headers: str) -> dict[str, Any]:
    http = {"method": method, "path": path}
    text = {} if body is None else {"body": body if isinstance(body, str) else json.dumps(body)}
    return {"version": "2.0", "rawPath": path, "headers": headers, "requestContext": {"http": http, "stage": "$default"}, **text}


def test_the_answer_is_that_of_a_replica_over_http(handler: Handler, tmp_path: Path) -> None:
    body = {"model": "intents", "input": ["where is my card", "hello"], "top_k": 2}
    (tmp_path / "stage").mkdir()
    with Stage(tmp_path / "stage") as stage:
        replica = stage.replica("r", "intents", settings={"task": "text-classification"})
        url = f"http://127.0.0.1:{replica.route.port}/v1/classify"
        direct = httpx.post(url, json=body, headers={"x-request-id": "same"}, **PLAIN, timeout=30)
    told = handler(web("/v1/classify", body, **{"x-request-id": "same"}), Context())
    assert told["statusCode"] == 200
    assert told["body"] == direct.text
    same = ("content-type", "x-penstock-version", "x-penstock-usage")
    assert [told["headers"][name] for name in same] == [direct.headers[name] for name in same]


def test_a_direct_invocation_is_answered_by_the_body(handler: Handler) -> None:
    told = handler({"model": "intents", "input": "where is my card"}, Context())
    assert told["object"] == "classification"
    assert told["id"] == Context.aws_request_id
    assert handler({"model": "intents", "input": "x", "top_k": 1 << 70}, Context())["error"]["type"] == "invalid_request_error"
    assert handler({"model": "other", "input": "x"}, Context())["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        (web("/v1/classify", "{"), 400, "invalid_json"),
        (web("/v1/classify", {"model": "intents"}), 400, "invalid_value"),
        (web("/v1/classify", {"model": "other", "input": "x"}), 404, "model_not_found"),
        (web("/v1/chat/completions", {"model": "intents", "messages": [{"role": "user", "content": "x"}]}), 400, "wrong_task"),
        (web("/nothing", {}), 405, "method_not_allowed"),
        (web("/nothing", method="GET"), 404, "unknown_route"),
        (web("/v1/classify", method="GET"), 405, "method_not_allowed"),
        (web("/v1/classify", {"model": "intents", "input": "boom"}), 500, "engine_failed"),
        ({"model": "intents", "input": "x", "top_k": 1 << 70, "requestContext": None}, 400, "invalid_event"),
        ({"httpMethod": "POST", "requestContext": {}}, 400, "invalid_event"),
    ],
)
def test_errors_have_openais_shape(handler: Handler, event: Any, status: int, code: str) -> None:
    told = handler(event, Context())
    error = json.loads(told["body"])["error"]
    assert (told["statusCode"], error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}


def test_health_and_models(handler: Handler) -> None:
    assert json.loads(handler(web("/ping", method="GET"), Context())["body"])["status"] == "ok"
    models = json.loads(handler(web("/v1/models", method="GET"), Context())["body"])
    assert [row["id"] for row in models["data"]] == ["intents"]
    assert handler(web("/metrics", method="GET"), Context())["headers"]["content-type"].startswith("text/plain")


def test_it_says_that_time_ran_out_before_lambda_does(tmp_path: Path) -> None:
    function = Function(spec(tmp_path, step_s=5.0))
    told = handler_of(function)(web("/v1/classify", {"model": "intents", "input": "x"}), Context(left_ms=500))
    assert (told["statusCode"], json.loads(told["body"])["error"]["code"]) == (504, "timeout")
    assert function.replica.api.in_flight == 0
    function.close()


def test_an_engine_that_broke_is_opened_anew(tmp_path: Path) -> None:
    function = Function(spec(tmp_path, task="text-generation"))
    handler, first = handler_of(function), function.replica
    broke = handler(web("/v1/completions", {"model": "intents", "prompt": "doom"}), Context())
    assert (broke["statusCode"], json.loads(broke["body"])["error"]["code"]) == (503, "engine_broken")
    told = handler({"model": "intents", "prompt": "a b", "max_tokens": 2}, Context())
    assert told["choices"][0]["text"] == "a b "
    assert function.replica is not first
    stream = handler(web("/v1/completions", {"model": "intents", "prompt": "a b", "max_tokens": 2, "stream": True}), Context())
    assert stream["body"].endswith("data: [DONE]\n\n")
    assert stream["headers"]["content-type"].startswith("text/event-stream")
    function.close()


def test_calls_from_several_threads_are_answered_side_by_side(tmp_path: Path) -> None:
    function = Function(spec(tmp_path, step_s=0.2))
    handler, told = handler_of(function), list[Any]()
    peak = 0

    def ask(number: int) -> None:
        told.append(handler({"model": "intents", "input": f"text {number}"}, Context()))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        peak = max(peak, function.replica.api.in_flight)
        threads[0].join(0.005)
        threads[-1].join(0.005)
    assert [row["object"] for row in told] == ["classification"] * 6
    assert peak > 1
    function.close()
