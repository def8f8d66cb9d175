"""Lambda's events and answers, both forms, and what fits neither."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.platforms.function.events import MAX_ANSWER_BYTES, Call, answer_of, answer_that_fits, call_of
from penstock.serving.errors import RequestRefused
from penstock.serving.held import Held

BODY = '{"model":"intents","input":"où est ma carte?"}'


def web(
    body: str | None = BODY, *, stage: str = "$default", path: str = "/v1/classify", method: str = "POST", **more: Any
) -> dict[str, Any]:
    """An event of payload format 2.0, as function URLs and HTTP APIs send it."""
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "X-Request-Id": "abc", "x-forwarded-for": "198.51.100.7"},
        "requestContext": {"http": {"method": method, "path": path, "protocol": "HTTP/1.1"}, "stage": stage, "requestId": "r1"},
        "isBase64Encoded": False,
        **more,
    }
    return event if body is None else {**event, "body": body}


def test_http_events() -> None:
    call = call_of(web())
    assert (call.method, call.path, call.body, call.web) == ("POST", "/v1/classify", BODY.encode(), True)
    assert call.headers["x-request-id"] == "abc"
    assert call_of(web(base64.b64encode(BODY.encode()).decode(), isBase64Encoded=True)).body == BODY.encode()
    assert call_of(web(None, method="GET", path="/v1/models")).body == b""
    assert call_of(web(path="/prod/v1/classify", stage="prod")).path == "/v1/classify"
    assert call_of(web(path="/prod/v1/classify")).path == "/prod/v1/classify"
    assert call_of(web(path="/v1%2Fclassify")).path == "/v1/classify"


def test_a_direct_event_is_the_body() -> None:
    call = call_of(json.loads(BODY))
    assert (call.method, call.path, json.loads(call.body), call.web) == ("POST", "/invocations", json.loads(BODY), False)


@pytest.mark.parametrize(
    "event",
    [
        [],
        None,
        "text",
        web("%%%", isBase64Encoded=True),
        {**web(), "body": 7},
        {"httpMethod": "POST", "path": "/v1/classify", "requestContext": {}},
        {"Records": []},
        {"requestContext": None},
    ],
)
def test_what_fits_no_form_is_refused(event: Any) -> None:
    with pytest.raises(RequestRefused) as refused:
        call_of(event)
    assert (refused.value.status, refused.value.code) == (400, "invalid_event")


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_is_a_call_or_refused(event: Any) -> None:
    try:
        call: Call | None = call_of(event)
    except RequestRefused:
        call = None
    assert call is None or isinstance(event, dict)


def test_answers_over_http() -> None:
    json_ = Held(200, {"content-type": "application/json", "x-penstock-version": "3", "content-length": "2"}, '{"a":"é"}'.encode())
    assert answer_of(json_, True) == {
        "statusCode": 200,
        "headers": {"content-type": "application/json", "x-penstock-version": "3"},
        "body": '{"a":"é"}',
        "isBase64Encoded": False,
    }
    data = answer_of(Held(200, {"content-type": "application/octet-stream"}, b"\xff\x00"), True)
    assert (base64.b64decode(data["body"]), data["isBase64Encoded"]) == (b"\xff\x00", True)


def test_answers_to_a_direct_call() -> None:
    assert answer_of(Held(404, {}, b'{"error":{"code":"x"}}'), False) == {"error": {"code": "x"}}
    assert answer_of(Held(200, {}, b"plain"), False) == "plain"


def test_an_answer_that_lambda_would_not_take_says_so() -> None:
    def held(size: int) -> Held:
        return Held(200, {"content-type": "application/json"}, b'"' * size)

    assert answer_that_fits(held(1000), True) == answer_of(held(1000), True)
    assert answer_that_fits(held(MAX_ANSWER_BYTES // 2 - 200), True)["statusCode"] == 200
    refused = answer_that_fits(held(MAX_ANSWER_BYTES // 2 + 200), True)  # a quote becomes two bytes within JSON
    assert (refused["statusCode"], json.loads(refused["body"])["error"]["code"]) == (413, "answer_too_large")
    assert answer_that_fits(held(MAX_ANSWER_BYTES), False)["error"]["code"] == "answer_too_large"
