"""From an exchange to a ticket: who asks, which model, which version, and what it may use."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from penstock.serving.caller import GENERATIVE, Caller
from penstock.serving.errors import RequestRefused, nearest
from penstock.serving.exchange import Exchange
from penstock.serving.lane import Lane
from penstock.serving.snapshot import KeyEntry, Price
from penstock.serving.table import Table
from penstock.serving.ticket import Ticket

BYTES_PER_TOKEN, DEFAULT_TOKENS = 4, 128


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


def ticket_of(exchange: Exchange, ident: str, caller: Caller, place: tuple[Lane, str | None], value: Mapping[str, Any]) -> Ticket:
    """Left in the exchange's state, too. Raises RequestRefused (404) when a version is asked for that is not there."""
    ticket = exchange.state = Ticket(exchange, ident, caller, place, value)
    if ticket.exact and ticket.pinned not in ticket.lane.model.versions:
        told = f"Model {ticket.asked!r} has no version {str(ticket.pinned)[:40]!r} here"
        raise RequestRefused(404, told, "version_not_found", "x-penstock-version")
    return ticket


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


@lru_cache(4096)
def session_of(sticky: bytes) -> str:
    """A short digest of what the route stuck to: who it was cannot be read off it."""
    return hashlib.blake2b(sticky, digest_size=8).hexdigest()
