"""Who asks, and what of a request its head alone decides: kept with a head that comes again, so that it is looked at once."""

from __future__ import annotations

from penstock.serving.errors import RequestRefused
from penstock.serving.exchange import Exchange
from penstock.serving.identity import Keyring
from penstock.serving.told import may_train

STICKY_BYTES = 256
GENERATIVE = frozenset(("/v1/completions", "/v1/chat/completions"))
RELAYED = frozenset(("/v1/classify", "/v1/embeddings", *GENERATIVE))
_JSON_KINDS = (b"application/json", b"application/x-www-form-urlencoded")  # the second is what curl says when nobody said anything


class Caller:
    """Holds as long as `keys` are in force. `session` is what the client says that it sticks to, `own` what it sticks to otherwise.

    `counted`: the key's limits want an estimate of what a request uses. `version`: the one that is asked for.
    """

    __slots__ = ("counted", "generative", "key", "keys", "own", "session", "training", "version")

    def __init__(self, exchange: Exchange, keys: Keyring) -> None:
        """Raises RequestRefused (401). What else the head says is `posted`'s to judge."""
        headers = exchange.headers
        self.keys, self.key = keys, keys.find(headers)
        limits = self.key.limits
        self.counted = limits.tokens_per_minute is not None or limits.budget_usd is not None
        self.generative = exchange.path in GENERATIVE
        self.session = headers.get(b"x-penstock-session", b"")[:STICKY_BYTES]
        self.own = f"{self.key.id} {exchange.peer}".encode()
        version = headers.get(b"x-penstock-version")
        self.training = self.key.training and may_train(headers)
        self.version = None if version is None else version.decode("latin-1")


def posted(exchange: Exchange) -> None:
    """Raises RequestRefused (405, 415) for what is not JSON that was posted as it is."""
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
