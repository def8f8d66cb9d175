"""Lambda's events as requests, and answers in the form that their source expects.

Sources: AWS Lambda developer guide, "Invoking a Lambda function using Amazon API Gateway" (payload format 2.0) and "Lambda function URLs".
An event of neither is a direct invocation: the body of a /v1 route as it is, answered by the body of the answer; which route is meant
shows in what it holds (serving/invocations.py). Not covered: payload format 1.0, load balancers, streamed answers.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson

from penstock.serving.errors import RequestRefused
from penstock.serving.held import Held

MAX_ANSWER_BYTES = 6 << 20  # Lambda's limit of a response, as JSON
DIRECT = "/invocations"
_TEXT = ("application/json", "text/")
_OWN = frozenset({"content-length", "transfer-encoding", "connection"})  # what the gateway in front sets itself


@dataclass(frozen=True, slots=True)
class Call:
    """`web`: it came over HTTP, so status and headers go back too."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    web: bool = True


def call_of(event: Any) -> Call:
    """Raises RequestRefused for an event that no form fits."""
    if not isinstance(event, dict):
        raise RequestRefused(400, "The event must be a JSON object", "invalid_event")
    context = event.get("requestContext")
    http = context.get("http") if isinstance(context, dict) else None
    if isinstance(http, dict):
        return _web(event, http, str(context.get("stage") or "$default") if isinstance(context, dict) else "$default")
    if "httpMethod" in event or "requestContext" in event or "Records" in event:
        message = (
            "This function answers payload format 2.0 (HTTP APIs, function URLs) and direct invocations; this event is of another kind"
        )
        raise RequestRefused(400, message, "invalid_event")
    return Call("POST", DIRECT, {}, json.dumps(event).encode(), web=False)  # orjson refuses numbers that the event may hold


def _web(event: Mapping[str, Any], http: Mapping[str, Any], stage: str) -> Call:
    path = str(event.get("rawPath") or http.get("path") or "/")
    if stage != "$default" and path.startswith(f"/{stage}/"):
        path = path[len(stage) + 1 :]  # a stage that has a name stands before the route
    given = event.get("headers") or {}
    headers = {str(name).lower(): str(value) for name, value in given.items()} if isinstance(given, dict) else {}
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise RequestRefused(400, "body of the event must be a string", "invalid_event")
    try:
        data = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
    except (binascii.Error, ValueError, UnicodeEncodeError):
        raise RequestRefused(400, "The body says that it is base64, and is not", "invalid_event") from None
    return Call(str(http.get("method") or "GET").upper(), unquote(path), headers, data)


def answer_of(held: Held, web: bool) -> Any:
    """What the handler returns: status, headers and body for HTTP; the body's own value for a direct invocation."""
    if not web:
        try:
            return orjson.loads(held.body)
        except orjson.JSONDecodeError:
            return held.body.decode("utf-8", "replace")
    headers = {name: value for name, value in held.headers.items() if name not in _OWN}
    if headers.get("content-type", "").startswith(_TEXT):
        text, encoded = held.body.decode(), False
    else:
        text, encoded = base64.b64encode(held.body).decode(), True
    return {"statusCode": held.status, "headers": headers, "body": text, "isBase64Encoded": encoded}


def refusal(refused: RequestRefused) -> Held:
    lines = [line.partition(b":") for line in refused.headers.split(b"\r\n") if line]
    headers = {name.decode().lower(): value.strip().decode() for name, _, value in lines}
    return Held(refused.status, {"content-type": "application/json", **headers}, refused.body())


def answer_that_fits(held: Held, web: bool) -> Any:
    """As `answer_of`; where Lambda would not take it for its size, what says so."""
    answer = answer_of(held, web)
    size = len(orjson.dumps(answer))
    if size <= MAX_ANSWER_BYTES:
        return answer
    message = f"The answer has {size} bytes, more than the {MAX_ANSWER_BYTES} that a function may give; ask for fewer texts at once"
    return answer_of(refusal(RequestRefused(413, message, "answer_too_large")), web)
