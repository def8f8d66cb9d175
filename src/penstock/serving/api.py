"""What a replica answers: the /v1 routes over one engine, whole or streamed.

Shapes are OpenAI's; `/v1/classify` is ours. Tokens used travel to the gateway beside the answer: in the header `x-penstock-usage`
(`prompt,completion`) of a whole answer, in the trailer of that name of a streamed one.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from penstock.core.errors import BadInput, EngineClosed, ReplicaFailed, UpstreamRefused
from penstock.engines.contract import Classified, ClassifyRequest, Embedded, Engine, Request
from penstock.serving.adapters import adapters
from penstock.serving.choices import ChatShape, CompletionShape, Shape
from penstock.serving.errors import RequestRefused, busy, nearest
from penstock.serving.exchange import Exchange
from penstock.serving.fields import kind_of
from penstock.serving.forwarding import Forward, forwarding
from penstock.serving.generating import Room, answer_stream, answer_whole
from penstock.serving.metrics import RequestMetrics
from penstock.serving.params import PARSERS, EmbeddingOrder, Generation, parse_object
from penstock.serving.rows import classification, embeddings

log = logging.getLogger("penstock.replica")
_CLIENT_GONE = 499
_SHORT = ("/v1/classify", "/v1/embeddings")  # answered in one go; the others generate
_SHAPES: Mapping[str, Callable[[int | None], Shape]] = {"/v1/completions": CompletionShape, "/v1/chat/completions": ChatShape}
_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C trace context, level 1


@dataclass(frozen=True, slots=True)
class Served:
    """The one model of a replica."""

    engine: Engine
    model: str
    version: str
    replica: str


class Api:
    """Answers exchanges of the four /v1 routes; `in_flight` counts those that are being answered.

    `on_broken` is called, after the answer, when the engine cannot serve any more.
    """

    def __init__(self, served: Served, metrics: RequestMetrics, on_broken: Callable[[str], None] = lambda _: None) -> None:
        self.served, self.metrics, self.on_broken = served, metrics, on_broken
        self.in_flight = 0
        self._forwarding = forwarding(served.engine)
        self._tasks: set[asyncio.Task[None]] = set()
        self._suffix = b"x-penstock-version: %b\r\nx-penstock-replica: %b\r\n" % (served.version.encode(), served.replica.encode())

    def accept(self, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        exchange.on_gone = lambda: _cancel(task)
        exchange.cancel_on_eof = exchange.path not in _SHORT

    async def _answer(self, exchange: Exchange) -> None:
        self.in_flight += 1
        status = 200
        try:
            await self._run(exchange)
        except asyncio.CancelledError:
            status = _CLIENT_GONE
        except Exception as error:
            refused = self._refusal(error, exchange)
            status = refused.status
            self._fail(exchange, refused)
        finally:
            self.in_flight -= 1
            seconds = time.monotonic() - exchange.arrived
            self.metrics.done(exchange.path, self.served.model, self.served.version, status, seconds)

    def _refusal(self, error: Exception, exchange: Exchange) -> RequestRefused:
        """What to tell the client. A message may quote the prompt, so only the kind of error and the frame go to the log."""
        if isinstance(error, RequestRefused):
            return error
        if isinstance(error, BadInput):
            return RequestRefused(400, str(error), "bad_input")
        if isinstance(error, RecursionError):
            return RequestRefused(400, "The body nests too deep", "bad_input")
        if isinstance(error, UpstreamRefused):
            return _from_upstream(error)
        if isinstance(error, EngineClosed):
            return busy("This replica is closing; try again", "replica_closing")
        name, frame = type(error).__name__, _frame(error)
        trace = _TRACE.fullmatch(exchange.headers.get(b"traceparent", b""))
        log.error("request %s failed: %s at %s (trace %s)", _request_id(exchange), name, frame, trace[1].decode() if trace else "none")
        if isinstance(error, (ReplicaFailed, MemoryError)) or "bad_alloc" in str(error):
            asyncio.get_running_loop().call_soon(self.on_broken, f"{name} at {frame}")
            return busy(f"The engine of this replica broke ({name}); another one takes over", "engine_broken")
        return RequestRefused(500, f"The engine failed ({name})", "engine_failed")

    def _fail(self, exchange: Exchange, refused: RequestRefused) -> None:
        if exchange.started:
            exchange.write(b"data: %b\n\n" % refused.body())
            exchange.cut()
        else:
            exchange.reply(refused.status, refused.body(), refused.headers + self._suffix)

    async def _run(self, exchange: Exchange) -> None:
        value = parse_object(exchange.body)
        adapter = self._adapter(value.get("model"))
        if self._forwarding is not None:
            await self._forward(exchange, value)
            return
        self._fits(exchange.path)
        order = PARSERS[exchange.path](value)
        if adapter is not None:
            if not isinstance(order, Generation):
                raise RequestRefused(400, f"{exchange.path} takes no adapter; ask for {self.served.model!r}", "wrong_task", "model")
            order = order.with_adapter(adapter)
        if isinstance(order, Generation):
            await self._generate(exchange, order, _SHAPES[exchange.path](order.logprobs))
        else:
            await self._short(exchange, order)

    def _adapter(self, asked: Any) -> str | None:
        """The adapter of `model:adapter`. Raises RequestRefused for another model than ours or an adapter that is not loaded."""
        model = self.served.model
        if not isinstance(asked, str):
            raise RequestRefused(400, f"model must be a string, not {kind_of(asked)}", "invalid_value", "model")
        if asked == model:
            return None
        if not asked.startswith(f"{model}:"):
            raise RequestRefused(404, f"This replica serves {model!r} only", "model_not_found", "model")
        if getattr(self.served.engine, "adapters_behind", False):
            return None  # what is behind knows its adapters, and refuses others itself
        name, loaded = asked[len(model) + 1 :], adapters(self.served.engine)
        if name not in loaded:
            hint = nearest(name, loaded)
            raise RequestRefused(404, f"Model {model!r} has no adapter {name[:80]!r} loaded{hint}", "adapter_not_found", "model")
        return name

    def _fits(self, path: str) -> None:
        """Raises RequestRefused when the route is for another kind of model; what is finer than that the engine refuses."""
        task = self.served.engine.info.task
        if (path in _SHORT) == (task == "text-generation") or (path == "/v1/classify" and task != "text-classification"):
            raise RequestRefused(400, f"Model {self.served.model!r} does {task}; {path} does not fit it", "wrong_task", "model")

    async def _short(self, exchange: Exchange, order: ClassifyRequest | EmbeddingOrder) -> None:
        if isinstance(order, EmbeddingOrder):
            vectors: Embedded = await self._only(order.request)
            self._whole(exchange, embeddings(vectors, self.served.model, order.base64), vectors.prompt_tokens, 0)
        else:
            labels: Classified = await self._only(order)
            self._whole(exchange, classification(labels, self.served.model, _request_id(exchange)), labels.prompt_tokens, 0)

    async def _generate(self, exchange: Exchange, order: Generation, shape: Shape) -> None:
        model = self.served.model + (f":{order.requests[0].adapter}" if order.requests[0].adapter else "")
        base = {"id": _request_id(exchange), "created": int(time.time()), "model": model}
        if order.stream:
            prompt, completion, _ = await answer_stream(
                self.served.engine, order, shape, base, exchange, lambda: exchange.start(200, self._suffix)
            )
            self._end(exchange, prompt, completion)
        else:
            body, (prompt, completion, _) = await answer_whole(self.served.engine, order, shape, base)
            self._whole(exchange, body, prompt, completion)

    async def _forward(self, exchange: Exchange, value: Mapping[str, Any]) -> None:
        assert self._forwarding is not None
        forward = Forward(self._forwarding, exchange.path, value, {"id": _request_id(exchange), "model": value["model"]})
        if not forward.stream:
            body = await forward.whole()
            self._whole(exchange, body, *forward.used)
            return
        room = Room(exchange)
        async with aclosing(cast(Any, forward.events())) as events:
            async for event in events:
                if not exchange.started:
                    exchange.start(200, self._suffix)
                exchange.write(event)
                await room.wait()
        if not exchange.started:
            exchange.start(200, self._suffix)
        self._end(exchange, *forward.used)

    def _end(self, exchange: Exchange, prompt: int, completion: int) -> None:
        self.metrics.used(self.served.model, self.served.version, prompt, completion)
        exchange.write(b"data: [DONE]\n\n")
        exchange.end(b"x-penstock-usage: %d,%d\r\n" % (prompt, completion))

    def _whole(self, exchange: Exchange, body: bytes, prompt: int, completion: int) -> None:
        self.metrics.used(self.served.model, self.served.version, prompt, completion)
        exchange.reply(200, body, b"%bx-penstock-usage: %d,%d\r\n" % (self._suffix, prompt, completion))

    async def _only(self, request: Request) -> Any:
        """The single chunk of a request that has just one."""
        async with aclosing(cast(Any, self.served.engine.generate(request))) as chunks:
            async for chunk in chunks:
                return chunk
        raise RuntimeError("the engine gave no answer")


def _request_id(exchange: Exchange) -> str:
    return str(exchange.state)


def _from_upstream(error: UpstreamRefused) -> RequestRefused:
    """The server's own word where the request is at fault; "try another replica" where it is full; else a bad gateway."""
    if error.status in (400, 404, 413, 422):
        return RequestRefused(error.status, str(error), "upstream_refused")
    if error.status in (429, 503):
        return busy(f"The model server is busy: {error}", "upstream_busy")
    return RequestRefused(502, f"The model server behind this replica failed ({error.status})", "upstream_failed")


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _frame(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace is not None else "?"
