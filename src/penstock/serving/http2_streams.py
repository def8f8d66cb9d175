"""The streams of one HTTP/2 connection: open until their answer is sent, remembered a while longer when their body has not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.serving.exchange import IDLE_S, Exchange


@dataclass(slots=True, eq=False)
class Stream:
    """One request and its answer. `waiting` holds answer bytes that the client's window had no room for."""

    number: int
    method: bytes
    path: str
    headers: dict[bytes, bytes]
    began: float
    deadline: float
    body: list[bytes] = field(default_factory=list)
    size: int = 0
    read: bool = False
    exchange: Exchange | None = None
    waiting: bytearray = field(default_factory=bytearray)
    full: bool = False
    ended: bool = False
    trailer: bytes = b""

    def gone(self) -> None:
        """The client takes no answer any more."""
        exchange = self.exchange
        if exchange is not None and not exchange.finished:
            exchange.finished = True
            if exchange.on_gone is not None:
                exchange.on_gone()


class Streams:
    """`unread`: answered before their body came (many clients read nothing until they have sent all). `last`: the highest number so far.

    `deadline`: until when a connection without open streams is kept. `emptied` is called when the last stream of a `going` one closes.
    """

    def __init__(self, emptied: Callable[[], None]) -> None:
        self.open: dict[int, Stream] = {}
        self.unread: dict[int, Stream] = {}
        self.going = False
        self.answers = self.last = 0
        self.deadline = 0.0
        self._emptied = emptied

    def add(self, stream: Stream) -> None:
        self.open[stream.number] = stream
        self.last, self.deadline = stream.number, stream.began + IDLE_S

    def close(self, stream: Stream) -> None:
        """Its answer is sent, or never will be."""
        if self.open.pop(stream.number, None) is None:
            return
        self.answers, self.deadline = self.answers + 1, time.monotonic() + IDLE_S
        if not stream.read:
            self.unread[stream.number] = stream
        if self.going and not self.open:
            self._emptied()
