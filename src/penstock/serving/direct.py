"""Requests that went to a version directly, past the gateway, and were captured where it is served: as records like any other.

How long they took nobody says: their times are 0 and their attempts, and such records count for no latency. Guardrails did not see them.
Not covered: who asked (no key of ours), requests that failed.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

import orjson

from penstock.serving.asking import cost_usd, session_of
from penstock.serving.caller import STICKY_BYTES
from penstock.serving.capture import captured
from penstock.serving.invocations import path_of
from penstock.serving.params import PARSERS
from penstock.serving.records import Record
from penstock.serving.snapshot import ModelRoute
from penstock.serving.told import NOTHING, best_of, metadata_of

log = logging.getLogger("penstock.records")


@dataclass(frozen=True, slots=True)
class Direct:
    """One request. `id`: the platform's; `at`: seconds since the epoch; `served`: what the platform calls the version that answered.

    `path`: of the HTTP API, empty where the request did not say. `training`: whether the client lets it be trained on.
    """

    id: str
    at: float
    served: str
    asked: bytes
    answered: bytes
    path: str = ""
    training: bool = True


def line_of(direct: Direct, route: ModelRoute, version: str | None, unwanted: frozenset[str] = frozenset()) -> bytes:
    """The record as a line of a segment, its texts kept and masked as `route` says; none of a request in `unwanted` (ids, sessions)."""
    asked, answered = _object(direct.asked), _answer(direct.answered)
    path = direct.path if direct.path in PARSERS else path_of(direct.asked, route.task)
    model, user, usage = asked.get("model"), asked.get("user"), answered.get("usage")
    ident = str(answered["id"]) if isinstance(answered.get("id"), str) and answered["id"] else direct.id
    session = session_of(user.encode("utf-8", "replace")[:STICKY_BYTES]) if isinstance(user, str) and user else None
    prompt, completion = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    label, confidence = best_of(direct.answered) if path == "/v1/classify" else NOTHING
    text_in, text_out = (None, None) if unwanted & {ident, session} else _texts(direct, route, ident)
    record = Record(
        ts=direct.at,
        id=ident,
        model=route.name,
        version=version,
        replica=None,
        route=path,
        key=None,
        status=200,
        bytes_in=len(direct.asked),
        bytes_out=len(direct.answered),
        prompt_tokens=prompt,
        completion_tokens=completion,
        queue_ms=0.0,
        first_ms=0.0,
        total_ms=0.0,
        attempts=0,
        trace=hashlib.blake2b(direct.id.encode(), digest_size=16).hexdigest(),
        span=hashlib.blake2b(direct.id.encode(), digest_size=8).hexdigest(),
        session=session,
        adapter=model.partition(":")[2] or None if isinstance(model, str) else None,
        stream=asked.get("stream") is True,
        cost_usd=cost_usd(route.price, prompt, completion),
        text_in=text_in,
        text_out=text_out,
        label=label,
        confidence=confidence,
        metadata=metadata_of(asked, route.metadata) if route.metadata else None,
        training=direct.training,
    )
    return orjson.dumps(record._asdict(), option=orjson.OPT_APPEND_NEWLINE)


def _texts(direct: Direct, route: ModelRoute, ident: str) -> tuple[str | None, str | None]:
    kept = captured(route.capture, ident, direct.asked)
    if kept is None:
        return None, None
    kept.add(direct.answered)
    try:
        return kept.texts()
    except Exception as error:
        log.error("the texts of request %s could not be read and are not kept (%s)", ident, type(error).__name__)
        return None, None


def _answer(body: bytes) -> dict[str, Any]:
    """An answer's object; of a stream the first event's, with the usage that the last ones tell."""
    if body[:1] not in (b"d", b":", b"e", b"\n"):
        return _object(body)
    events = [_object(line[5:].strip()) for line in body.split(b"\n") if line.startswith(b"data:")]
    told = [event["usage"] for event in events if event.get("usage")]
    return {**(events[0] if events else {}), "usage": told[-1] if told else None}


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value < 1 << 40 else 0
