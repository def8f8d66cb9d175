"""One request to one replica, and what came back of it so far. Whose request it is decides what that means (relay.py, shadow.py)."""

from __future__ import annotations

import asyncio
from typing import Protocol

from penstock.serving.balance import Version
from penstock.serving.upstream import Connection, Replica

MAX_ANSWER_BYTES = 256 << 20  # of an answer that is kept until it is complete


class Owner(Protocol):
    """Told by each of its attempts; at the end of each exactly one of `ended` and `lost`, unless it was cancelled."""

    def heard(self, attempt: Attempt) -> None:
        """The head of the answer is there."""
        ...

    def more(self, attempt: Attempt) -> None:
        """Something of the body is there."""
        ...

    def ended(self, attempt: Attempt, now: float) -> None: ...

    def lost(self, attempt: Attempt, reason: str) -> None: ...

    def silent(self, attempt: Attempt) -> None:
        """No head within the time given to `watch`."""
        ...


class Attempt:
    """A Call for upstream. `status` is 0 until the head is there; `headers` hold the trailers too once it ended.

    `streams`: what comes are events, to be passed on as they come.
    """

    __slots__ = (
        "_timer",
        "cancelled",
        "connection",
        "headers",
        "over",
        "owner",
        "parts",
        "payload",
        "replica",
        "size",
        "status",
        "streams",
        "version",
    )

    def __init__(self, owner: Owner, version: Version, replica: Replica, payload: bytes) -> None:
        self.owner, self.version, self.replica, self.payload = owner, version, replica, payload
        self.connection: Connection | None = None
        self.cancelled = self.over = self.streams = False
        self.status = self.size = 0
        self.headers: dict[bytes, bytes] = {}
        self.parts: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._timer = loop.call_later(seconds, self._silent)

    def cancel(self, hung: bool = False) -> None:
        """The replica stops; nothing more is told."""
        if not self.over:
            self._finish()
            self.replica.cancel(self, hung)

    def take(self) -> bytes:
        """What came since the last time."""
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        return data

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status, self.headers = status, headers
        if self._timer is not None:
            self._timer.cancel()
        self.owner.heard(self)

    def on_more(self) -> None:
        self.owner.more(self)

    def on_end(self, headers: dict[bytes, bytes], now: float) -> None:
        self.headers, self.over = headers, True
        if self._timer is not None:
            self._timer.cancel()
        self.owner.ended(self, now)

    def on_lost(self, reason: str) -> None:
        self._finish()
        self.owner.lost(self, reason)

    def _silent(self) -> None:
        if not self.over and self.status == 0:
            self.owner.silent(self)

    def _finish(self) -> None:
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
