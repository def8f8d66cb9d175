"""Requests for an engine that has an OpenAI-compatible server behind it: the body goes there as it came, the answer comes back as it is.

Only what we must know is read: `stream`, and from answers the usage. Changed are `model` and `id` of the answer (ours, so that records,
feedback and clients speak of the same thing). A stream is asked for its usage; clients that did not ask do not see it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, cast

import orjson

from penstock.engines.contract import Engine, Forwarding
from penstock.serving.fields import boolean

MAX_EVENT_BYTES = 16 << 20  # one line of a stream, or a whole answer of a server that may be broken


def forwarding(engine: Engine) -> Forwarding | None:
    """The engine as one that forwards, if it does."""
    return cast(Forwarding, engine) if hasattr(engine, "forward") else None


class Forward:
    """One request on its way through. `used` is (prompt, completion) tokens once the answer is over."""

    def __init__(self, engine: Forwarding, path: str, value: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        """`identity`: what replaces fields of the same name in the answer. Raises RequestRefused when `stream` is no boolean."""
        self._engine, self._path, self._identity = engine, path, identity
        self.stream = boolean(value, "stream")
        options = value.get("stream_options")
        self._told = not self.stream or (isinstance(options, dict) and options.get("include_usage") is True)
        self._value = dict(value)
        if not self._told and options in (None, {}):
            self._value["stream_options"] = {"include_usage": True}
        self.used = (0, 0)

    async def whole(self) -> bytes:
        """The body of the answer."""
        parts, size = [], 0
        async with aclosing(cast(Any, self._engine.forward(self._path, self._value))) as pieces:
            async for piece in pieces:
                parts.append(piece)
                size += len(piece)
                if size > MAX_EVENT_BYTES:
                    raise RuntimeError("the answer is longer than a server would make it")
        return self._renamed(b"".join(parts)) or b""

    async def events(self) -> AsyncIterator[bytes]:
        """The stream, an event at a time, ready to be written; its `[DONE]` is left out."""
        rest = b""
        async with aclosing(cast(Any, self._engine.forward(self._path, self._value))) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if (shown := self._line(line)) is not None:
                        yield shown
                if len(rest) > MAX_EVENT_BYTES:
                    raise RuntimeError("an event of the stream is longer than a server would make it")
        if (shown := self._line(rest)) is not None:
            yield shown

    def _line(self, line: bytes) -> bytes | None:
        name, _, data = line.strip().partition(b":")
        data = data.strip()
        if name != b"data" or data == b"[DONE]":
            return None
        body = self._renamed(data)
        return None if body is None else b"data: %b\n\n" % body

    def _renamed(self, data: bytes) -> bytes | None:
        """`data` with our names in it; None for an event that only tells a usage that nobody asked for."""
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise RuntimeError("the server behind the engine answered with something that is no JSON") from None
        if not isinstance(value, dict):
            return data
        told = value.get("usage")
        if isinstance(told, dict):
            self.used = (_count(told.get("prompt_tokens")), _count(told.get("completion_tokens")))
        if not self._told:
            if told is not None and value.get("choices") == []:
                return None
            value.pop("usage", None)
        value.update((name, given) for name, given in self._identity.items() if name in value)
        return orjson.dumps(value)


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 40 else 0
