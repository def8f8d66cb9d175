"""From an exchange to a ticket: who asks, which model, which version, what it may use, and what the deployment's checks say of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from penstock.serving.balance import Want
from penstock.serving.errors import RequestRefused, nearest
from penstock.serving.exchange import Exchange
from penstock.serving.lane import Lane
from penstock.serving.params import parse_object
from penstock.serving.snapshot import KeyEntry, Price
from penstock.serving.table import Table
from penstock.serving.ticket import Ticket
from penstock.serving.tracing import trace_of

STICKY_BYTES, BYTES_PER_TOKEN, DEFAULT_TOKENS = 256, 4, 128
GENERATIVE = frozenset(("/v1/completions", "/v1/chat/completions"))
RELAYED = frozenset(("/v1/classify", "/v1/embeddings", *GENERATIVE))
_JSON_KINDS = (b"application/json", b"application/x-www-form-urlencoded")  # the second is what curl says when nobody said anything


def read(exchange: Exchange) -> dict[str, Any]:
    """The JSON object that was posted. Raises RequestRefused."""
    if exchange.method != b"POST":
        raise RequestRefused(405, f"{exchange.path} answers POST only", "method_not_allowed", headers=b"allow: POST\r\n")
    headers = exchange.headers
    kind = headers.get(b"content-type")
    if kind is not None and kind != b"application/json":
        plain = kind.partition(b";")[0].strip().lower()
        if plain not in _JSON_KINDS and not plain.endswith(b"+json"):
            raise RequestRefused(415, f"Send application/json, not {plain.decode('latin-1')[:60]!r}", "unsupported_media_type")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise RequestRefused(415, "Send the body uncompressed (no content-encoding)", "unsupported_encoding")
    return parse_object(exchange.body)


def find(table: Table, key: KeyEntry, value: Mapping[str, Any]) -> tuple[Lane, str | None]:
    """The lane of the model that was asked for, and the adapter. Raises RequestRefused (400, 403, 404)."""
    name = value.get("model")
    if not isinstance(name, str):
        raise RequestRefused(400, "model must be a string: the name of a model (GET /v1/models lists them)", "invalid_value", "model")
    found = table.names.get(name)
    if found is None:
        hint = nearest(name, [known for known, (lane, _) in table.names.items() if may(key, lane)])
        raise RequestRefused(404, f"There is no model {name[:80]!r} here{hint}", "model_not_found", "model")
    if key.models and not may(key, found[0]):
        raise RequestRefused(403, f"This key may not use model {found[0].model.name!r}", "model_not_allowed", "model")
    return found


def may(key: KeyEntry, lane: Lane) -> bool:
    return not key.models or lane.model.name in key.models


def ticket_of(exchange: Exchange, ident: str, key: KeyEntry, value: Mapping[str, Any], place: tuple[Lane, str | None]) -> Ticket:
    """Raises RequestRefused (404) when a version is asked for that is not there."""
    headers, path = exchange.headers, exchange.path
    lane, adapter = place
    model, exact = lane.model, False
    pinned = model.ruled(headers) if model.rules else None
    if (version := headers.get(b"x-penstock-version")) is not None:
        pinned, exact = version.decode("latin-1"), True
        if pinned not in model.versions:
            told = f"Model {model.name!r} has no version {pinned[:40]!r} here"
            raise RequestRefused(404, told, "version_not_found", "x-penstock-version")
    user = value.get("user")
    sticky = headers.get(b"x-penstock-session") or (user.encode("utf-8", "replace") if isinstance(user, str) and user else b"")
    sticky = sticky[:STICKY_BYTES] or f"{key.id} {exchange.peer}".encode()
    generative = path in GENERATIVE
    want = Want(sticky, pinned, adapter, exchange.body if generative else None)
    stream = generative and value.get("stream") is True
    return Ticket(ident, path, lane, want, key, exchange.body, trace_of(headers), model.name, exact, stream)


def estimate(exchange: Exchange, value: Mapping[str, Any], price: Price) -> tuple[int, float]:
    """Tokens that the request may use, and USD that it may cost: a token every four bytes, and all that it may write."""
    prompt = len(exchange.body) // BYTES_PER_TOKEN
    written = 0
    if exchange.path in GENERATIVE:
        limit = value.get("max_completion_tokens") or value.get("max_tokens")
        choices = value.get("n")
        written = limit if isinstance(limit, int) and limit > 0 else DEFAULT_TOKENS
        if isinstance(choices, int) and 1 < choices <= 128:
            written *= choices
    return prompt + written, cost_usd(price, prompt, written)


def cost_usd(price: Price, prompt: int, completion: int) -> float:
    return price.request + (price.prompt * prompt + price.completion * completion) / 1e6


def session_of(sticky: bytes) -> str:
    """A short digest of what the route stuck to: who it was cannot be read off it."""
    return hashlib.blake2b(sticky, digest_size=8).hexdigest()
