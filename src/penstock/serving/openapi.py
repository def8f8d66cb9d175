"""The OpenAPI 3.1 document of gateway and replica, made from one table of routes; at `/openapi.json` and by `penstock openapi`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import orjson

from penstock import __version__
from penstock.serving.schemas import REQUESTS, SHARED, TEXT, ref

Face = Literal["gateway", "replica"]


@dataclass(frozen=True, slots=True)
class Route:
    """`answer` names a schema of SHARED; None: plain text. `statuses`: beside 200, with what they mean. `faces`: who answers it."""

    path: str
    method: Literal["get", "post"]
    name: str  # operationId
    says: str
    answer: str | None
    statuses: tuple[int, ...] = ()
    faces: tuple[Face, ...] = ("gateway", "replica")
    streamed: bool = False
    open: bool = False  # needs no key over loopback


_MODEL = (400, 403, 404, 408, 413, 415, 422, 429, 500, 502, 503, 504)
_BOTH: tuple[Face, ...] = ("gateway", "replica")
ROUTES: tuple[Route, ...] = (
    Route("/v1/models", "get", "listModels", "Models with their task and live versions", "Models"),
    Route("/v1/models/{model}", "get", "retrieveModel", "One model", "Model", (404,), ("gateway",)),
    Route("/v1/classify", "post", "classify", "Labels of texts, best first", "Classification", _MODEL),
    Route("/v1/embeddings", "post", "createEmbedding", "Vectors of texts", "Embeddings", _MODEL),
    Route("/v1/completions", "post", "createCompletion", "Text that goes on where the prompt ends", "Completion", _MODEL, streamed=True),
    Route("/v1/chat/completions", "post", "createChatCompletion", "The next message of a chat", "ChatCompletion", _MODEL, streamed=True),
    Route("/v1/feedback", "post", "giveFeedback", "Says something of an answer", "Feedback", (400, 413, 415, 429, 503), ("gateway",)),
    Route("/v1/load_lora_adapter", "post", "loadAdapter", "Loads a LoRA adapter", "Adapter", (400, 403, 413, 415), ("replica",)),
    Route("/v1/unload_lora_adapter", "post", "unloadAdapter", "Unloads an adapter", "Adapter", (400, 403, 404, 413, 415), ("replica",)),
    Route("/healthz", "get", "health", "Whether it serves", "Health", (503,), open=True),
    Route("/metrics", "get", "metrics", "Counts and times as Prometheus text", None, open=True),
    Route("/openapi.json", "get", "describe", "This document", "Document", open=True),
)
_MEANS = {
    400: "The body or a field of it is wrong; `param` names the field",
    401: "No key, or an unknown one",
    403: "The key or the sender may not do this",
    404: "There is no such model, version or adapter",
    405: "The route answers another method; see `allow`",
    408: "The request came too slowly",
    413: "The body is over the limit",
    415: "The body is no JSON, or compressed",
    422: "The model server behind the replica refuses the body",
    429: "A limit or budget of the key is used up; see `retry-after`",
    500: "The engine failed",
    502: "The replica, or the model server behind it, was lost",
    503: "Nobody can answer now; see `retry-after`",
    504: "The request took longer than the limit",
}


def document(face: Face) -> dict[str, Any]:
    """The document; every object in it is fresh."""
    paths: dict[str, Any] = {}
    for route in ROUTES:
        if face in route.faces:
            paths.setdefault(route.path, {})[route.method] = _operation(route, face)
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": f"Penstock {face}",
            "version": __version__,
            "description": "OpenAI's protocol; /v1/classify and /v1/feedback are ours.",
        },
        "paths": paths,
        "components": {"schemas": {**SHARED, "Document": {"type": "object"}}},
    }
    if face == "gateway":
        found["security"] = [{"key": []}]
        found["components"]["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "made by `penstock keys create`"}
        }
    copied: dict[str, Any] = orjson.loads(orjson.dumps(found))
    return copied


@cache
def document_bytes(face: Face) -> bytes:
    return orjson.dumps(document(face))


def _operation(route: Route, face: Face) -> dict[str, Any]:
    statuses = {*route.statuses, 405, *((401,) if face == "gateway" else ())}
    found: dict[str, Any] = {"operationId": route.name, "summary": route.says}
    if route.path.endswith("{model}"):
        found["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}]
    if route.method == "post":
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": REQUESTS[route.path]}}}
    content: dict[str, Any] = {"application/json": {"schema": ref(route.answer)}} if route.answer else {"text/plain": {"schema": TEXT}}
    if route.streamed:
        content["text/event-stream"] = {"schema": {"description": "`data: {chunk}` events, then `data: [DONE]`"}}
    found["responses"] = {"200": {"description": route.says, "content": content}}
    for status in sorted(statuses):
        known = {"application/json": {"schema": ref("Health" if route.answer == "Health" and status == 503 else "Error")}}
        found["responses"][str(status)] = {"description": _MEANS[status], "content": known}
    if route.open and face == "gateway":
        found["security"] = [{}, {"key": []}]
    return found
