"""HTTP/1.1 requests out of bytes: httptools parses, limits are held here, a head that came before is known again (heads.py).

Refused: heads over MAX_HEAD_BYTES (431), bodies over the limit, before they are read (413). Slow ones and what is not HTTP at all are the
connection's to refuse. Not covered: upgrades; trailers, which are read and thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httptools

from penstock.serving.errors import error_body
from penstock.serving.exchange import MAX_HEAD_BYTES, MIN_BODY_RATE, Listener
from penstock.serving.heads import Head, Known, known

PATIENCE = 4  # heads in a row that did not come again: those of this client are not looked at any more


class Reader:
    """Of one connection. `reading`: "", "head" or "body"; `deadline`: by when it must be there.

    `refusal`: status and body of the answer to what cannot be read; nothing is read after it. `known`: the head of the last request.
    """

    def __init__(self, server: Listener, took: Callable[[Head, bytes, float], None], go_on: Callable[[], None]) -> None:
        """`took` is given each whole request, with when it began; `go_on` tells the client to send the body that it holds back."""
        self.server, self._took, self._go_on = server, took, go_on
        self.reading = ""
        self.deadline = 0.0
        self.refusal: tuple[int, bytes] | None = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._url = b""
        self._body: list[bytes] = []
        self._body_size = self._head_size = 0
        self._began = 0.0
        self.known: Known | None = None
        self._ended = 0  # requests that ended in what is being read
        self._length = 0
        self._left = 0  # bytes of a body whose head was known
        self._last = Head(b"", "", {})  # of the request that ended last
        self._seen: tuple[bytes, int] | None = None  # what began with the head of the present request, and how much of its body it had
        self._strange = 0

    def feed(self, data: bytes) -> None:
        """Raises httptools' errors where `data` is not HTTP."""
        if self._left:
            data = self._go_on_with(data)
        elif not self.reading and self.known is not None and self._begin(self.known, data):
            return
        if not data:
            return
        fresh, self._ended = not self.reading, 0
        self._parser.feed_data(data)  # calls the methods below
        if self.reading == "head":
            self._head_size += len(data)
            if self._head_size > MAX_HEAD_BYTES:
                self.refuse(431, f"The request head is over {MAX_HEAD_BYTES} bytes", "head_too_large")
        elif fresh:
            self._seen = data, self._body_size
        if self._ended:
            self._learn()

    def again(self, data: bytes) -> bytes | None:
        """The body, when `data` is one whole request with the known head. Only to be asked between two requests."""
        if self.known is None or self.reading:
            return None
        body = self.known.body(data)
        if body is None or len(body) > self.server.limits.max_body_bytes:
            return None
        self._strange = 0
        return body

    def _begin(self, known: Known, data: bytes) -> bool:
        """True when `data` is the known head and a part of its body."""
        begun = known.begin(data)
        if begun is None or not len(begun[1]) < begun[0] <= self.server.limits.max_body_bytes:
            return False
        self._left, self._body, self.reading = begun[0] - len(begun[1]), [begun[1]], "body"
        self._began = time.monotonic()
        self.deadline = self._began + self.server.limits.header_timeout_s + begun[0] / MIN_BODY_RATE
        return True

    def _go_on_with(self, data: bytes) -> bytes:
        """Takes what belongs to the body whose head was known; returns the rest."""
        self._body.append(data[: self._left])
        rest, self._left = data[self._left :], max(self._left - len(data), 0)
        if not self._left and self.known is not None:
            self.reading, self._strange, body = "", 0, b"".join(self._body)
            self._body = []
            self._took(self.known.head, body, self._began)
        return rest

    def _learn(self) -> None:
        """The head of the request that ended may come again, if it was in one piece and no other request ended since it began."""
        seen, self._seen = self._seen, None
        if seen is not None and self._ended == 1 and self._strange < PATIENCE and self.refusal is None:
            self.known = known(seen[0], self._last, self._length, seen[1])
            self._strange += 1

    def refuse(self, status: int, message: str, code: str) -> None:
        self.refusal, self.known = (status, error_body(status, message, code)), None

    def on_message_begin(self) -> None:
        self._headers, self._url, self._body = {}, b"", []
        self._body_size = self._head_size = 0
        self.reading = "head"
        self._began = time.monotonic()
        self.deadline = self._began + self.server.limits.header_timeout_s

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.reading == "head":  # a trailer must not overrule the head
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        limits, length = self.server.limits, self._headers.pop(b"content-length", None)
        size = self._length = int(length) if length is not None else 0
        self.reading = "body"
        expected = size if length is not None else limits.max_body_bytes
        self.deadline = self._began + limits.header_timeout_s + expected / MIN_BODY_RATE
        if size > limits.max_body_bytes:
            self._too_large(size)
        elif size and self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._go_on()

    def on_body(self, data: bytes) -> None:
        self._body_size += len(data)
        if self._body_size > self.server.limits.max_body_bytes:
            self._body.clear()
            self._too_large(self._body_size)
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        self.reading = ""
        if self.refusal is not None:
            return
        parser = self._parser
        path = self._url.partition(b"?")[0].decode("latin-1")
        head = Head(parser.get_method(), path, self._headers, parser.get_http_version() == "1.1", parser.should_keep_alive())
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        self._ended, self._last = self._ended + 1, head
        self._took(head, body, self._began)

    def _too_large(self, size: int) -> None:
        limit = self.server.limits.max_body_bytes
        self.refuse(413, f"The request body has {size} bytes or more; the limit is {limit}", "body_too_large")
