"""What a replica answers: the /v1 routes over one engine, whole or streamed.

Shapes are OpenAI's; `/v1/classify` is ours. Tokens used travel to the gateway beside the answer: in the header `x-penstock-usage`
(`prompt,completion`) of a whole answer, in the trailer of that name of a streamed one.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import orjson

from penstock.core.errors import BadInput
from penstock.engines.contract import Classified, ClassifyRequest, Embedded, Engine, Request, Text
from penstock.serving.errors import RequestRefused, error_body
from penstock.serving.exchange import Exchange
from penstock.serving.metrics import RequestMetrics
from penstock.serving.params import PARSERS, EmbeddingOrder, Generation, parse_object

log = logging.getLogger("penstock.replica")
_CLIENT_GONE = 499
_SHORT = ("/v1/classify", "/v1/embeddings")  # answered in one go; the others generate


@dataclass(frozen=True, slots=True)
class Served:
    """The one model of a replica."""

    engine: Engine
    model: str
    version: str
    replica: str


class Api:
    """Answers exchanges of the four /v1 routes; `in_flight` counts those that are being answered."""

    def __init__(self, served: Served, metrics: RequestMetrics) -> None:
        self.served, self.metrics = served, metrics
        self.in_flight = 0
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
        except (RequestRefused, BadInput) as error:
            refused = error if isinstance(error, RequestRefused) else RequestRefused(400, str(error), "bad_input")
            status = refused.status
            self._fail(exchange, status, refused.body())
        except Exception as error:
            # The message may quote the prompt, so only the kind of error and the frame go to the log.
            status, frame = 500, _frame(error)
            log.error("request %s failed: %s at %s", _request_id(exchange), type(error).__name__, frame)
            self._fail(exchange, status, error_body(500, f"The engine failed ({type(error).__name__})", "engine_failed"))
        finally:
            self.in_flight -= 1
            seconds = time.monotonic() - exchange.arrived
            self.metrics.done(exchange.path, self.served.model, self.served.version, status, seconds)

    def _fail(self, exchange: Exchange, status: int, body: bytes) -> None:
        if exchange.started:
            exchange.write(b"data: %b\n\n" % body)
            exchange.cut()
        else:
            exchange.reply(status, body, self._suffix)

    async def _run(self, exchange: Exchange) -> None:
        value = parse_object(exchange.body)
        if value.get("model") != self.served.model:
            raise RequestRefused(404, f"This replica serves {self.served.model!r} only", "model_not_found", "model")
        self._fits(exchange.path)
        order = PARSERS[exchange.path](value)
        await _ROUTES[exchange.path](self, exchange, order)

    def _fits(self, path: str) -> None:
        """Raises RequestRefused when the route is for another kind of model; what is finer than that the engine refuses."""
        task = self.served.engine.info.task
        if (path in _SHORT) == (task == "text-generation") or (path == "/v1/classify" and task != "text-classification"):
            raise RequestRefused(400, f"Model {self.served.model!r} does {task}; {path} does not fit it", "wrong_task", "model")

    async def classify(self, exchange: Exchange, order: ClassifyRequest) -> None:
        found = cast(Classified, await self._only(order))
        data = []
        for index, row in enumerate(found.rows):
            labels = [{"label": label, "score": score} for label, score in row]
            data.append({"index": index, "label": row[0][0], "score": row[0][1], "labels": labels})
        answer = {"id": _request_id(exchange), "object": "classification", "model": self.served.model, "data": data}
        self._whole(exchange, answer, found.prompt_tokens, None)

    async def embed(self, exchange: Exchange, order: EmbeddingOrder) -> None:
        found = cast(Embedded, await self._only(order.request))
        data = []
        for index, vector in enumerate(found.vectors):
            numbers = [float(v) for v in vector]
            form: Any = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode() if order.base64 else numbers
            data.append({"object": "embedding", "index": index, "embedding": form})
        self._whole(exchange, {"object": "list", "model": self.served.model, "data": data}, found.prompt_tokens, None)

    async def complete(self, exchange: Exchange, order: Generation) -> None:
        def choice(text: str, reason: str | None) -> dict[str, Any]:
            return {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}

        await self._generate(exchange, order, ("text_completion", "text_completion", choice, choice, None))

    async def chat(self, exchange: Exchange, order: Generation) -> None:
        def choice(text: str, reason: str | None) -> dict[str, Any]:
            message = {"role": "assistant", "content": text, "refusal": None}
            return {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}

        def delta(text: str, reason: str | None) -> dict[str, Any]:
            return {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": reason, "logprobs": None}

        first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None, "logprobs": None}
        await self._generate(exchange, order, ("chat.completion", "chat.completion.chunk", choice, delta, first))

    async def _generate(self, exchange: Exchange, order: Generation, shape: Shape) -> None:
        base = {"id": _request_id(exchange), "created": int(time.time()), "model": self.served.model}
        chunks = cast(AsyncIterator[Text], self.served.engine.generate(order.request))
        async with aclosing(cast(Any, chunks)):
            if order.stream:
                await self._stream(exchange, order, {**base, "object": shape[1]}, chunks, shape)
                return
            parts, last = [], Text("")
            async for last in chunks:
                parts.append(last.text)
        answer = {**base, "object": shape[0], "choices": [shape[2]("".join(parts), last.finish_reason or "stop")]}
        self._whole(exchange, answer, last.prompt_tokens, last.completion_tokens)

    async def _stream(self, exchange: Exchange, order: Generation, base: dict[str, Any], chunks: AsyncIterator[Text], shape: Shape) -> None:
        if order.include_usage:
            base["usage"] = None
        room = _Room(exchange)
        last = Text("")
        async for last in chunks:
            if not exchange.started:  # after the first chunk, so that a request that the engine refuses gets its status
                exchange.start(200, self._suffix)
                if shape[4] is not None:
                    exchange.write(_event({**base, "choices": [shape[4]]}))
            exchange.write(_event({**base, "choices": [shape[3](last.text, last.finish_reason)]}))
            await room.wait()
        if not exchange.started:
            exchange.start(200, self._suffix)
        if order.include_usage:
            exchange.write(_event({**base, "choices": [], "usage": _usage(last.prompt_tokens, last.completion_tokens)}))
        self.metrics.used(self.served.model, self.served.version, last.prompt_tokens, last.completion_tokens)
        exchange.write(b"data: [DONE]\n\n")
        exchange.end(b"x-penstock-usage: %d,%d\r\n" % (last.prompt_tokens, last.completion_tokens))

    def _whole(self, exchange: Exchange, answer: dict[str, Any], prompt: int, completion: int | None) -> None:
        answer["usage"] = _usage(prompt, completion)
        self.metrics.used(self.served.model, self.served.version, prompt, completion or 0)
        headers = b"%bx-penstock-usage: %d,%d\r\n" % (self._suffix, prompt, completion or 0)
        exchange.reply(200, orjson.dumps(answer), headers)

    async def _only(self, request: Request) -> Any:
        """The single chunk of a request that has just one."""
        async with aclosing(cast(Any, self.served.engine.generate(request))) as chunks:
            async for chunk in chunks:
                return chunk
        raise RuntimeError("the engine gave no answer")


Choice = Callable[[str, str | None], dict[str, Any]]
Shape = tuple[str, str, Choice, Choice, dict[str, Any] | None]  # object, object of a chunk, choice, choice of a chunk, first chunk

_ROUTES: dict[str, Callable[[Api, Exchange, Any], Awaitable[None]]] = {
    "/v1/classify": Api.classify,
    "/v1/embeddings": Api.embed,
    "/v1/completions": Api.complete,
    "/v1/chat/completions": Api.chat,
}


class _Room:
    """Waits while the client's socket is full."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self._free = exchange, asyncio.Event()
        exchange.on_writable = self._changed

    def _changed(self, writable: bool) -> None:
        if writable:
            self._free.set()

    async def wait(self) -> None:
        while not self._exchange.writable and not self._exchange.finished:
            self._free.clear()
            await self._free.wait()


def _event(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(value)


def _usage(prompt: int, completion: int | None) -> dict[str, int]:
    if completion is None:
        return {"prompt_tokens": prompt, "total_tokens": prompt}
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _request_id(exchange: Exchange) -> str:
    return str(exchange.state)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _frame(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace is not None else "?"
