"""One request's way through the gateway: wait for a place, send, pass the answer on; retry, hedge or fall back while nothing was passed on.

A client that vanishes takes the connections to replicas with it, so the replicas stop. What was sent to a client is never sent again: from
its first byte on a request belongs to one attempt, and when that fails the stream ends with an error event and without `[DONE]`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import orjson

from penstock.serving.answer import Answer
from penstock.serving.attempt import MAX_ANSWER_BYTES, Attempt
from penstock.serving.balance import Choice, Version, Want, choose, empty
from penstock.serving.errors import RequestRefused, busy
from penstock.serving.exchange import Exchange
from penstock.serving.lane import HELD
from penstock.serving.shadow import mirror
from penstock.serving.ticket import Ticket
from penstock.serving.upstream import Replica

log = logging.getLogger("penstock.gateway")
CLIENT_GONE = 499
_PASSED_ON = (502, 503, 504)  # answers of a replica that another one may do better


class Relay:
    """The owner of a request's attempts. `done(relay, status, code)` is called once, when all is over."""

    __slots__ = (
        "_done",
        "_live",
        "_payload",
        "_since",
        "_timer",
        "_winner",
        "answer",
        "attempts",
        "exchange",
        "fallbacks",
        "hedges",
        "last",
        "over",
        "priority",
        "sent",
        "ticket",
    )

    def __init__(self, ticket: Ticket, exchange: Exchange, answer: Answer, done: Callable[[Relay, int, str | None], None]) -> None:
        self.ticket, self.exchange, self.answer, self._done = ticket, exchange, answer, done
        self.priority = ticket.key.priority
        self.attempts = self.hedges = 0
        self._since = 0  # attempts before the model that is asked now
        self.sent = 0.0
        self.last: Attempt | None = None
        self.over = False
        self.fallbacks: list[str] | None = None  # names that are left to try; None: none was tried yet
        self._live: list[Attempt] = []
        self._winner: Attempt | None = None
        self._payload = b""
        self._timer: asyncio.TimerHandle | None = None
        exchange.on_gone = self._gone
        exchange.on_writable = self._writable

    @property
    def want(self) -> Want:
        return self.ticket.want

    def go(self) -> None:
        now = time.monotonic()
        self.ticket.lane.enter(now)
        self.act(self.seek(now), now)

    def seek(self, now: float) -> Choice | None:
        return choose(self.ticket.lane.model, self.ticket.want, now)

    def act(self, choice: Choice | None, now: float, turn: bool = False) -> None:
        """Sends, waits, or goes elsewhere. `turn`: it had waited, and may go before those that still do."""
        if self.over:
            return
        lane = self.ticket.lane
        if self._timer is not None:
            self._clear_timer()
        if choice is None:
            self._nowhere(now)
        elif choice[1] is None:
            lane.wait(self, choice[0].name, again=turn or self.attempts > self._since)
        elif lane.line.waiting and not turn and lane.line.count(choice[0].name):
            lane.wait(self, choice[0].name, again=self.attempts > self._since)
            lane.pump(choice[0].name)
        else:
            self._send(choice[0], choice[1], now)

    def shed(self, gone: bool = False) -> None:
        lane = self.ticket.lane
        if gone:
            self.refuse(busy(f"Model {lane.model.name!r} is no longer served here", "no_replica"))
            return
        wait = lane.retry_after(time.monotonic())
        self.refuse(busy(f"Too many requests wait for {lane.model.name!r}; try again in {wait} s", "overloaded", wait))

    def refuse(self, refused: RequestRefused) -> None:
        self.answer.refuse(refused, self.last)
        self._end(refused.status, refused.code)

    def time_out(self) -> None:
        for attempt in self._live:
            attempt.cancel(hung=attempt.status == 0)
        self.refuse(RequestRefused(504, "The request took longer than the limit", "timeout"))

    def heard(self, attempt: Attempt) -> None:
        if attempt.status >= 500 or self._winner is not None:
            return
        kind = attempt.headers.get(b"content-type", b"")
        if attempt.status == 200 and not kind.startswith((b"application/json", b"text/event-stream")):
            attempt.cancel(hung=True)
            self.lost(attempt, f"its answer is neither JSON nor events but {kind[:40]!r}")
            return
        self._winner = self.last = attempt
        if len(self._live) > 1:
            others, self._live = [other for other in self._live if other is not attempt], [attempt]
            for other in others:
                other.cancel()
                self.ticket.lane.pump(other.version.name)
        if self._timer is not None:
            self._clear_timer()

    def more(self, attempt: Attempt) -> None:
        if attempt is self._winner:
            try:
                self.answer.stream(attempt)
            except RequestRefused as refused:
                self.refuse(refused)
            if self.answer.blocked and not self.over:
                self.exchange.end()
                self._end(200, "content_filter")
        if attempt.size > MAX_ANSWER_BYTES and not self.answer.started and not attempt.over:
            attempt.cancel(hung=True)
            self.lost(attempt, f"its answer is over {MAX_ANSWER_BYTES} bytes")

    def ended(self, attempt: Attempt) -> None:
        self._live.remove(attempt)
        if attempt.status >= 500 and self._live:
            pass  # the other one may do better
        elif attempt.status in _PASSED_ON and not self.answer.started:
            self._again()
        else:
            self.last = attempt
            try:
                code = self.answer.complete(attempt)
            except RequestRefused as refused:
                self.refuse(refused)
            else:
                self._end(attempt.status, code)
        self.ticket.lane.pump(attempt.version.name)

    def lost(self, attempt: Attempt, reason: str) -> None:
        log.warning("request %s lost replica %s: %s", self.ticket.id, attempt.replica.route.id, reason)
        self._live.remove(attempt)
        if attempt is self._winner:
            self._winner = None
        if self.answer.started:
            self.refuse(RequestRefused(502, "The replica was lost in the middle of the answer", "replica_lost"))
        elif not self._live:
            self._again()
        self.ticket.lane.pump(attempt.version.name)

    def silent(self, attempt: Attempt) -> None:
        attempt.cancel(hung=True)
        self.ticket.lane.counts["silent_total"] += 1
        self.lost(attempt, "no answer began in time")

    def _send(self, version: Version, replica: Replica, now: float) -> None:
        ticket = self.ticket
        protection = ticket.lane.model.route.protection
        if not self._payload:
            self._payload = ticket.payload()
        attempt = self.last = Attempt(self, version, replica, self._payload)
        self._live.append(attempt)
        ticket.want.tried.add(replica)
        self.attempts += 1
        first = self.attempts == self._since + 1
        self.sent = self.sent or now
        if not replica.submit(attempt):
            attempt.over = True
            self._live.remove(attempt)
            if not self._live:
                self._again()
            return
        if protection.first_byte_s is not None:
            attempt.watch(ticket.lane.loop, protection.first_byte_s)
        if first:
            if protection.hedge_s is not None:
                self._timer = ticket.lane.loop.call_later(protection.hedge_s, self._hedge)
            if ticket.lane.model.route.shadow is not None:
                mirror(ticket)

    def _hedge(self) -> None:
        """The first attempt is slow: asks another replica as well, where one has room."""
        self._timer = None
        lane, now = self.ticket.lane, time.monotonic()
        if self.over or self._winner is not None or not self._live:
            return
        choice = self.seek(now)
        if choice is None or choice[1] is None or not lane.budget.spend(now, lane.model.route.protection.retry_budget):
            return
        lane.counts["hedged_total"] += 1
        self.hedges += 1
        self._send(choice[0], choice[1], now)

    def _again(self) -> None:
        """Nothing was sent to the client, and no attempt is left."""
        self._clear_timer()
        lane, now = self.ticket.lane, time.monotonic()
        protection = lane.model.route.protection
        choice = self.seek(now) if self.attempts - self.hedges - self._since <= protection.retries else None
        if choice is not None and lane.budget.spend(now, protection.retry_budget):
            lane.counts["retries_total"] += 1
            self.act(choice, now)
        elif not self._fall_back(now):
            wait = lane.retry_after(now)
            message = f"Replicas of {lane.model.name!r} did not answer in {self.attempts} attempts; try again in {wait} s"
            self.refuse(busy(message, "no_replica", wait))

    def _nowhere(self, now: float) -> None:
        """No replica can be asked: hold on, ask another model, or give up."""
        lane = self.ticket.lane
        hold_s = lane.model.route.protection.hold_s
        left_s = self.exchange.arrived + hold_s - now
        if left_s > 0 and self.fallbacks is None and empty(lane.model, self.ticket.want):
            self._timer = lane.loop.call_later(left_s, self._held_too_long)
            lane.wait(self, HELD)
        elif not self._fall_back(now):
            wait = lane.retry_after(now)
            self.refuse(busy(f"No replica of {lane.model.name!r} can answer now; try again in {wait} s", "no_replica", wait))

    def _held_too_long(self) -> None:
        self._timer = None
        if self.ticket.lane.line.remove(self):
            self._nowhere(time.monotonic())

    def _fall_back(self, now: float) -> bool:
        """Passes the request on to the next fallback that has a replica. Its own fallbacks are not followed, so there is no circle."""
        ticket = self.ticket
        if self.fallbacks is None:
            self.fallbacks = [] if ticket.exact else list(ticket.lane.model.route.protection.fallback)
        task = ticket.lane.model.route.task
        while self.fallbacks:
            name = self.fallbacks.pop(0)
            lane = ticket.lane.find(name)
            if name == ticket.asked or lane is None or lane.model.route.task != task:
                continue
            want = Want(ticket.want.sticky, prompt=ticket.want.prompt)
            choice = choose(lane.model, want, now)
            if choice is None:
                continue
            log.warning("request %s is passed on to model %s", ticket.id, name)
            ticket.lane.counts["fallback_total"] += 1
            ticket.lane.leave(now)
            lane.enter(now)
            ticket.lane, ticket.want = lane, want
            ticket.body = orjson.dumps({**orjson.loads(ticket.body), "model": name})
            self.answer.lines += b"x-penstock-fallback: %b\r\n" % name.encode()
            self._since, self._payload = self.attempts - self.hedges, b""
            self.act(choice, now)
            return True
        return False

    def _end(self, status: int, code: str | None = None) -> None:
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._clear_timer()
        lane = self.ticket.lane
        freed, self._live = self._live, []
        for attempt in freed:
            attempt.cancel()
        if lane.line.waiting:
            lane.line.remove(self)
        lane.leave(time.monotonic())
        self._done(self, status, code)
        exchange = self.exchange
        exchange.on_gone = exchange.on_writable = exchange.state = self.last = self._winner = None  # no cycle is left to be collected
        for attempt in freed:
            lane.pump(attempt.version.name)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _gone(self) -> None:
        self._end(CLIENT_GONE, "client_gone")

    def _writable(self, writable: bool) -> None:
        if self._winner is not None and self._winner.connection is not None:
            self._winner.connection.pause(not writable)
