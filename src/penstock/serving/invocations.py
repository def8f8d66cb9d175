"""A replica as managed hosting wants a container: health at `GET /ping`, and one route for everything, the body as for the /v1 routes.

SageMaker posts to /invocations, Azure ML to the scoring route that its environment names (/score), Vertex AI to /predict. Which route is
meant says a header: `X-Amzn-SageMaker-Custom-Attributes: path=/v1/classify`, or `X-Penstock-Path: /v1/classify`; without it, what the body
holds. A body with `instances` is many requests in one (bulk.py).
Source: SageMaker AI developer guide, "Custom Inference Code with Hosting Services"; Azure ML, "Use a custom container to deploy a model".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from penstock.serving.bulk import Bulk, instances_of
from penstock.serving.exchange import Exchange
from penstock.serving.params import PARSERS

ATTRIBUTES, PATH = b"x-amzn-sagemaker-custom-attributes", b"x-penstock-path"
HEALTH = "/healthz"
INVOKED = ("/invocations", "/score", "/predict")


def invoked(handle: Callable[[Exchange], None], timed_out: Callable[[Exchange], None], task: str) -> Callable[[Exchange], None]:
    """`handle` of a replica whose engine does `task`, with those routes led to its own; all others stay.

    `timed_out`: as HttpServer has it.
    """
    bulk = Bulk(handle, timed_out, lambda value: path_of(value, task))

    def front(exchange: Exchange) -> None:
        if exchange.path == "/ping":
            exchange.path = HEALTH
        elif exchange.path in INVOKED and exchange.method == b"POST":
            told = told_path(exchange.headers)
            value = None if told else _read(exchange.body)
            instances = instances_of(value)
            if instances is not None:
                bulk.accept(exchange, instances)
                return
            exchange.path = told or path_of(value, task)
        if exchange.path == HEALTH:
            exchange.method = b"GET"  # Vertex AI posts to every route as it is, Azure ML and SageMaker to one that names it
        handle(exchange)

    return front


def told_path(headers: Mapping[bytes, bytes]) -> str:
    """The route that a header names, of those that a client may reach so; empty where none does."""
    parts = headers.get(ATTRIBUTES, b"").decode("ascii", "replace").split(";")
    named = [value for name, _, value in (part.strip().partition("=") for part in parts) if name == "path"]
    for value in (headers.get(PATH, b"").decode("ascii", "replace"), *named):
        if value in PARSERS or value == HEALTH:
            return value
    return ""


def path_of(value: Any, task: str) -> str:
    """The route whose body this looks like. A body that is no JSON object gets one all the same, which then says what is wrong."""
    if isinstance(value, dict) and "messages" in value:
        return "/v1/chat/completions"
    if isinstance(value, dict) and "prompt" in value:
        return "/v1/completions"
    return {"text-classification": "/v1/classify", "embedding": "/v1/embeddings"}.get(task, "/v1/completions")


def _read(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
