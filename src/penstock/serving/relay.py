"""One request's way through the gateway: wait for a place, send, pass the answer on; where else it may go says elsewhere.py.

A client that vanishes takes the connections to replicas with it, so the replicas stop. What was sent to a client is never sent again: from
its first byte on a request belongs to one attempt, and when that fails the stream ends with an error event and without `[DONE]`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from penstock.serving.answer import Answer
from penstock.serving.attempt import MAX_ANSWER_BYTES, Attempt
from penstock.serving.balance import Choice, Version, choose
from penstock.serving.elsewhere import again, hedge, nowhere, stop_timer
from penstock.serving.errors import RequestRefused, busy
from penstock.serving.exchange import Exchange
from penstock.serving.shadow import mirror
from penstock.serving.ticket import Ticket
from penstock.serving.upstream import Replica

log = logging.getLogger("penstock.gateway")
CLIENT_GONE = 499
_PASSED_ON = (502, 503, 504)  # answers of a replica that another one may do better
_FAILED = (502, 504)  # of those, what its version is to be blamed for; 503 says that it is busy, or goes


class Relay:
    """The owner of a request's attempts. `done(relay, status, code, now)` is called once, when all is over.

    `live`: attempts under way; `since`: those before the model that is asked now; `winner`: the one that is passed on; `last`: the one that
    the client is told of; `sent`: when the first went; `failed_on`: versions that answered with a failure, and another attempt was made.
    """

    __slots__ = (
        "_done",
        "answer",
        "attempts",
        "exchange",
        "failed_on",
        "fallbacks",
        "hedges",
        "last",
        "live",
        "over",
        "payload",
        "priority",
        "sent",
        "since",
        "ticket",
        "timer",
        "winner",
    )

    def __init__(self, ticket: Ticket, exchange: Exchange, answer: Answer, done: Callable[[Relay, int, str | None, float], None]) -> None:
        self.ticket, self.exchange, self.answer, self._done = ticket, exchange, answer, done
        self.priority = ticket.key.priority
        self.attempts = self.hedges = self.since = 0
        self.sent = 0.0
        self.failed_on: tuple[str, ...] = ()
        self.over = False
        self.last: Attempt | None = None
        self.winner: Attempt | None = None
        self.fallbacks: list[str] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.live: list[Attempt] = []
        self.payload = b""
        exchange.on_gone = self._gone

    def go(self) -> None:
        now = time.monotonic()
        lane = self.ticket.lane
        lane.enter(now)
        choice = choose(lane.model, self.ticket, now)
        if choice is not None and choice[1] is not None and not lane.line.waiting:
            self.send(choice[0], choice[1], now)
        else:
            self.act(choice, now)

    def act(self, choice: Choice | None, now: float, turn: bool = False) -> None:
        """Sends, waits, or goes elsewhere. `turn`: it had waited, and may go before those that still do."""
        if self.over:
            return
        lane = self.ticket.lane
        if self.timer is not None:
            stop_timer(self)
        if choice is None:
            nowhere(self, now)
        elif choice[1] is None:
            lane.wait(self, choice[0].name, again=turn or self.attempts > self.since)
        elif lane.line.waiting and not turn and lane.line.count(choice[0].name):
            lane.wait(self, choice[0].name, again=self.attempts > self.since)
            lane.pump(choice[0].name)
        else:
            self.send(choice[0], choice[1], now)

    def send(self, version: Version, replica: Replica, now: float) -> None:
        ticket = self.ticket
        route = ticket.lane.model.route
        if not self.payload:
            self.payload = ticket.payload()
        attempt = self.last = Attempt(self, version, replica, self.payload)
        self.live.append(attempt)
        ticket.tried += (replica,)
        self.attempts += 1
        self.sent = self.sent or now
        if not replica.submit(attempt, now):
            attempt.over = True
            self.live.remove(attempt)
            if not self.live:
                again(self)
            return
        protection = route.protection
        if protection.first_byte_s is not None:
            attempt.watch(ticket.lane.loop, protection.first_byte_s)
        if self.attempts == self.since + 1:
            if protection.hedge_s is not None:
                self.timer = ticket.lane.loop.call_later(protection.hedge_s, hedge, self)
            if route.shadow is not None:
                mirror(ticket)

    def heard(self, attempt: Attempt) -> None:
        if attempt.status >= 500 or self.winner is not None:
            return
        kind = attempt.headers.get(b"content-type", b"")
        if attempt.status == 200 and not kind.startswith(b"application/json"):
            if not kind.startswith(b"text/event-stream"):
                attempt.cancel(hung=True)
                _blame(self, attempt)
                self.lost(attempt, f"its answer is neither JSON nor events but {kind[:40]!r}")
                return
            attempt.streams, self.exchange.on_writable = True, self._writable
        self.winner = self.last = attempt
        if len(self.live) > 1:
            others, self.live = [other for other in self.live if other is not attempt], [attempt]
            for other in others:
                other.cancel()
                self.ticket.lane.pump(other.version.name)
        if self.timer is not None:
            stop_timer(self)

    def more(self, attempt: Attempt) -> None:
        if attempt is self.winner:
            try:
                self.answer.stream(attempt)
            except RequestRefused as refused:
                self.refuse(refused)
            if self.answer.blocked and not self.over:
                self.exchange.end()
                self._end(200, "content_filter", time.monotonic())
        if attempt.size > MAX_ANSWER_BYTES and not self.answer.started and not attempt.over:
            attempt.cancel(hung=True)
            _blame(self, attempt)
            self.lost(attempt, f"its answer is over {MAX_ANSWER_BYTES} bytes")

    def ended(self, attempt: Attempt, now: float) -> None:
        self.live.remove(attempt)
        status = attempt.status
        if status in _FAILED and (self.live or not self.answer.started):
            _blame(self, attempt)
        if status >= 500 and self.live:
            pass  # the other one may do better
        elif status in _PASSED_ON and not self.answer.started:
            again(self)
        else:
            self.last = attempt
            try:
                code = self.answer.complete(attempt, now)
            except RequestRefused as refused:
                self.refuse(refused)
            else:
                self._end(status, code, now if self.answer.guard is None else time.monotonic())
        lane = self.ticket.lane
        if lane.line.waiting:
            lane.pump(attempt.version.name)

    def lost(self, attempt: Attempt, reason: str) -> None:
        log.warning("request %s lost replica %s: %s", self.ticket.id, attempt.replica.route.id, reason)
        self.live.remove(attempt)
        if attempt is self.winner:
            self.winner = None
        if self.answer.started:
            self.refuse(RequestRefused(502, "The replica was lost in the middle of the answer", "replica_lost"))
        elif not self.live:
            again(self)
        self.ticket.lane.pump(attempt.version.name)

    def silent(self, attempt: Attempt) -> None:
        attempt.cancel(hung=True)
        self.ticket.lane.counts["silent_total"] += 1
        _blame(self, attempt)
        self.lost(attempt, "no answer began in time")

    def shed(self, gone: bool = False) -> None:
        lane = self.ticket.lane
        if gone:
            self.refuse(busy(f"Model {lane.model.name!r} is no longer served here", "no_replica"))
            return
        wait = lane.retry_after(time.monotonic())
        self.refuse(busy(f"Too many requests wait for {lane.model.name!r}; try again in {wait} s", "overloaded", wait))

    def time_out(self) -> None:
        for attempt in self.live:
            attempt.cancel(hung=attempt.status == 0)
        self.refuse(RequestRefused(504, "The request took longer than the limit", "timeout"))

    def refuse(self, refused: RequestRefused) -> None:
        self.answer.refuse(refused, self.last)
        self._end(refused.status, refused.code, time.monotonic())

    def _end(self, status: int, code: str | None, now: float) -> None:
        if self.over:
            return
        self.over = True
        if self.timer is not None:
            stop_timer(self)
        lane = self.ticket.lane
        freed = self.live
        if freed:
            self.live = []
            for attempt in freed:
                attempt.cancel()
        if lane.line.waiting:
            lane.line.remove(self)
        lane.leave(now)
        self._done(self, status, code, now)
        exchange = self.exchange
        exchange.on_gone = exchange.on_writable = exchange.state = self.last = self.winner = None  # no cycle is left to be collected
        for attempt in freed:
            lane.pump(attempt.version.name)

    def _gone(self) -> None:
        self._end(CLIENT_GONE, "client_gone", time.monotonic())

    def _writable(self, writable: bool) -> None:
        if self.winner is not None and self.winner.connection is not None:
            self.winner.connection.pause(not writable)


def _blame(relay: Relay, attempt: Attempt) -> None:
    """The version failed, not its process or the way there."""
    relay.failed_on += (attempt.version.name,)
