"""What the client is told: a stream as it comes, a whole answer, or why there is none."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from penstock.serving.attempt import Attempt
from penstock.serving.capture import Captured
from penstock.serving.errors import RequestRefused, broken
from penstock.serving.exchange import EVENTS, JSON, Exchange
from penstock.serving.told import NOTHING, best_of

log = logging.getLogger("penstock.gateway")


class Answer:
    """Of one exchange. `first`: when its first byte went out; `events` of a stream so far; `lines`: headers of every answer."""

    __slots__ = ("best", "events", "exchange", "first", "guard", "kept", "lines", "started", "usage")

    def __init__(self, exchange: Exchange, lines: bytes, guard: Any = None) -> None:
        self.exchange, self.lines, self.guard = exchange, lines, guard
        self.started = False
        self.first = 0.0
        self.usage = (0, 0)
        self.events = 0
        self.best = NOTHING
        self.kept: Captured | None = None  # what of it goes into the record

    @property
    def blocked(self) -> bool:
        """A guard ended the stream: what it wrote was the last."""
        return self.guard is not None and self.guard.blocked

    def stream(self, attempt: Attempt) -> None:
        """Passes on what came, if it is a stream; else waits for the rest."""
        if not attempt.streams:
            return
        if not self.started:
            self.started = True
            self.first = time.monotonic()
            self.exchange.start(200, self._identity(attempt), EVENTS)
        self._write(attempt.take() if self.guard is None else self._checked(self.guard.feed, attempt.take()))

    def complete(self, attempt: Attempt, now: float) -> str | None:
        """Ends a stream, or gives the whole answer. Returns the code of the error that was passed on, if it was one."""
        headers = attempt.headers
        if attempt.streams and attempt.parts:
            self.stream(attempt)
        if b"x-penstock-usage" in headers:
            self.usage = usage_of(headers)
        if self.started:
            if self.guard is not None:
                self._write(self._checked(self.guard.end))
            self.exchange.end()
            return None
        self.first = now
        body = attempt.take()
        if self.guard is not None and attempt.status == 200:
            body = self._checked(self.guard.whole, body)
        if self.kept is not None:
            self.kept.add(body)
        if self.exchange.path == "/v1/classify" and attempt.status == 200:
            self.best = best_of(body)
        self.exchange.reply(attempt.status, body, self._identity(attempt), headers.get(b"content-type", JSON))
        return _code(body) if attempt.status >= 400 else None

    def refuse(self, refused: RequestRefused, attempt: Attempt | None = None) -> None:
        """Before anything was sent: the status; in a stream: an event, and the connection cut before its end."""
        if self.started:
            self.exchange.write(b"data: %b\n\n" % refused.body())
            self.exchange.cut()
        else:
            lines = self.lines if attempt is None else self._identity(attempt)
            self.exchange.reply(refused.status, refused.body(), refused.headers + lines)

    def _checked(self, check: Callable[..., bytes], *data: bytes) -> bytes:
        """Fails closed: what a broken guard did not check does not go out."""
        try:
            return check(*data)
        except RequestRefused:
            raise
        except Exception as error:
            raise broken(error, "", "A check of this deployment failed", "guard_failed") from None

    def _write(self, data: bytes) -> None:
        if self.kept is not None:
            self.kept.add(data)
        self.events += data.count(b"\n\n")
        self.exchange.write(data)

    def _identity(self, attempt: Attempt) -> bytes:
        return self.lines + attempt.version.header + attempt.replica.header


def usage_of(headers: Mapping[bytes, bytes]) -> tuple[int, int]:
    """Tokens read and written, as the replica counted them; zeros when it did not say."""
    value = headers.get(b"x-penstock-usage")
    if value is None:
        return 0, 0
    prompt, _, completion = value.partition(b",")
    try:
        return max(int(prompt), 0), max(int(completion or b"0"), 0)
    except ValueError:
        log.warning("a replica's x-penstock-usage cannot be read: %r", value[:40])
        return 0, 0


def _code(body: bytes) -> str | None:
    try:
        found = orjson.loads(body)["error"]["code"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
