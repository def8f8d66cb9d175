"""Many requests in one body: `{"instances": […]}` is answered with `{"predictions": […]}`, in the same order.

An instance is the body of a route of the HTTP API; then its prediction is the answer, and one that fails fails the whole request. Or it is
an order, `{"row": …, "path": "/v1/classify", "body": "<JSON>"}`; then its prediction is `{"row": …, "status": 200, "body": "<JSON>"}`,
whatever became of it: a service that drops a file for one bad line, as batch services do, loses no neighbours by it. Orders carry their
bodies as text, so that a service that reads and writes JSON in between changes no number in them.
Source: Vertex AI, "Custom container requirements for prediction". Not covered: streams; `parameters` beside `instances`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from penstock.serving.errors import error_body
from penstock.serving.exchange import Exchange
from penstock.serving.heads import Head
from penstock.serving.held import Held, answered
from penstock.serving.params import PARSERS

AT_ONCE = 64  # instances of one request: the engine gathers them into its own batches
BUSY, BUSY_PAUSE_S = (429, 503), 0.2
_JSON: Mapping[bytes, bytes] = {b"content-type": b"application/json"}
Handle = Callable[[Exchange], None]
PathOf = Callable[[Any], str]


def instances_of(value: Any) -> list[Any] | None:
    """Those of a body; None for a body of another kind."""
    found = value.get("instances") if isinstance(value, dict) else None
    return found if isinstance(found, list) else None


class Bulk:
    """`path_of`: the route whose body a value looks like."""

    def __init__(self, handle: Handle, timed_out: Handle, path_of: PathOf) -> None:
        self._handle, self._timed_out, self._path_of = handle, timed_out, path_of
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, exchange: Exchange, instances: list[Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._all(exchange, instances))
        exchange.on_gone = lambda: _cancel(task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _all(self, exchange: Exchange, instances: list[Any]) -> None:
        places = asyncio.Semaphore(AT_ONCE)

        async def one(instance: Any) -> Held:
            async with places:
                return await self._one(instance, exchange.deadline)

        found = await asyncio.gather(*(one(instance) for instance in instances))
        predictions: list[Any] = []
        for instance, held in zip(instances, found, strict=True):
            if _is_order(instance):
                predictions.append({"row": instance.get("row"), "status": held.status, "body": held.body.decode("utf-8", "replace")})
            elif held.status != 200:
                exchange.reply(held.status, held.body)
                return
            else:
                predictions.append(orjson.Fragment(held.body))
        exchange.reply(200, orjson.dumps({"predictions": predictions}))

    async def _one(self, instance: Any, deadline: float) -> Held:
        """Asked again while the engine is busy, as long as there is time."""
        path, body = self._request(instance)
        if path not in PARSERS:
            return _refusal(f"an instance names no route that answers: {path[:80]!r}", "unknown_route")
        if _streams(body):
            return _refusal("an instance asks for a stream, and there is nobody to stream to", "unsupported_value")
        while True:
            left = deadline - time.monotonic()
            held = await answered(self._handle, self._timed_out, Head(b"POST", path, dict(_JSON)), body, left)
            if held.status not in BUSY or left < 2 * BUSY_PAUSE_S:
                return held
            await asyncio.sleep(BUSY_PAUSE_S)

    def _request(self, instance: Any) -> tuple[str, bytes]:
        if not _is_order(instance):
            return self._path_of(instance), orjson.dumps(instance)
        body = instance["body"].encode()
        return str(instance.get("path") or self._path_of(_read(body))), body


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _is_order(instance: Any) -> bool:
    return isinstance(instance, dict) and isinstance(instance.get("body"), str)


def _streams(body: bytes) -> bool:
    value = _read(body) if b'"stream"' in body else None
    return isinstance(value, dict) and bool(value.get("stream"))


def _read(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _refusal(message: str, code: str) -> Held:
    return Held(400, {}, error_body(400, message, code))
