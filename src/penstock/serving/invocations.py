"""A replica as SageMaker's hosting wants a container: `GET /ping` and `POST /invocations`, the body as for the /v1 routes.

Which route is meant says the header `X-Amzn-SageMaker-Custom-Attributes: path=/v1/classify`; without it, what the body holds.
Source: SageMaker AI developer guide, "Custom Inference Code with Hosting Services".
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from penstock.serving.exchange import Exchange
from penstock.serving.params import PARSERS

HEADER = b"x-amzn-sagemaker-custom-attributes"
HEALTH = "/healthz"


def invoked(handle: Callable[[Exchange], None], task: str) -> Callable[[Exchange], None]:
    """`handle` of a replica whose engine does `task`, with the two routes led to its own; all others stay."""

    def front(exchange: Exchange) -> None:
        if exchange.path == "/ping":
            exchange.path = HEALTH
        elif exchange.path == "/invocations" and exchange.method == b"POST":
            exchange.path = told_path(exchange.headers.get(HEADER, b"")) or path_of(exchange.body, task)
            if exchange.path == HEALTH:
                exchange.method = b"GET"
        handle(exchange)

    return front


def told_path(attributes: bytes) -> str:
    """The route that the header names, of those that a client may reach so; empty where it names none."""
    for part in attributes.decode("ascii", "replace").split(";"):
        name, _, value = part.strip().partition("=")
        if name == "path" and (value in PARSERS or value == HEALTH):
            return value
    return ""


def path_of(body: bytes, task: str) -> str:
    """The route whose body this looks like. A body that is no JSON object gets one all the same, which then says what is wrong."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if isinstance(value, dict) and "messages" in value:
        return "/v1/chat/completions"
    if isinstance(value, dict) and "prompt" in value:
        return "/v1/completions"
    return {"text-classification": "/v1/classify", "embedding": "/v1/embeddings"}.get(task, "/v1/completions")
