"""Copies of requests to a shadow version: sent after the live request, read and thrown away, recorded; never seen by a client.

At most MAX_IN_FLIGHT copies of a model are under way, and none is sent to a replica without room: then it is dropped and counted. A copy is
tried once.
"""

from __future__ import annotations

import asyncio
import hashlib
import time

from penstock.serving.answer import usage_of
from penstock.serving.attempt import Attempt
from penstock.serving.balance import Want, choose
from penstock.serving.ticket import Ticket
from penstock.serving.told import LONGEST_BODY, NOTHING, best_of

MAX_IN_FLIGHT = 64


class Copy:
    """The owner of a copy's one attempt. `status` 0 until it is over; then `ticket.lane.copied(copy)` is called."""

    __slots__ = ("attempt", "began", "best", "bytes_out", "first", "id", "status", "ticket", "timer", "usage")

    def __init__(self, ticket: Ticket, ident: str, now: float) -> None:
        self.ticket, self.id, self.began = ticket, ident, now
        self.attempt: Attempt | None = None
        self.first = 0.0
        self.status = self.bytes_out = 0
        self.usage = (0, 0)
        self.best = NOTHING
        self.timer: asyncio.TimerHandle | None = None

    def heard(self, attempt: Attempt) -> None:  # noqa: ARG002 - the signature is the Owner's
        self.first = time.monotonic()

    def more(self, attempt: Attempt) -> None:
        if self.ticket.route != "/v1/classify" or attempt.size > LONGEST_BODY:
            attempt.parts.clear()

    def ended(self, attempt: Attempt, now: float) -> None:  # noqa: ARG002 - the signature is the Owner's
        if self.ticket.route == "/v1/classify" and attempt.status == 200:
            self.best = best_of(b"".join(attempt.parts))
        self.usage = usage_of(attempt.headers)
        self._over(attempt, attempt.status)

    def lost(self, attempt: Attempt, reason: str) -> None:  # noqa: ARG002 - the signature is the Owner's
        self._over(attempt, 502)

    def silent(self, attempt: Attempt) -> None:
        attempt.cancel(hung=True)
        self._over(attempt, 504)

    def late(self) -> None:
        """Over the model's time for a whole request."""
        if self.attempt is not None and not self.attempt.over:
            self.attempt.cancel(hung=self.attempt.status == 0)
            self._over(self.attempt, 504)

    def _over(self, attempt: Attempt, status: int) -> None:
        self.status, self.bytes_out = status, attempt.size
        attempt.parts.clear()
        if self.timer is not None:
            self.timer.cancel()
        lane = self.ticket.lane
        lane.shadows -= 1
        lane.copied(self)
        lane.pump(attempt.version.name)


def sampled(ident: str, share: float) -> bool:
    """True for `share` of all ids; the same id always falls the same way."""
    if share >= 1:
        return True
    return int.from_bytes(hashlib.blake2b(ident.encode(), digest_size=4).digest(), "big") < share * (1 << 32)


def mirror(ticket: Ticket) -> None:
    """Sends a copy of a request that was just sent, if it is in the sample and there is room."""
    lane = ticket.lane
    shadow, timeout_s = lane.model.route.shadow, lane.model.route.protection.timeout_s
    if shadow is None or not sampled(ticket.id, shadow.sample):
        return
    now = time.monotonic()
    choice = choose(lane.model, Want(ticket.sticky, shadow.version, ticket.adapter), now)
    if choice is None or choice[1] is None or lane.shadows >= MAX_IN_FLIGHT:
        lane.counts["shadow_dropped_total"] += 1
        return
    copy = Copy(ticket, f"{ticket.id[:57]}-shadow", now)
    attempt = copy.attempt = Attempt(copy, choice[0], choice[1], ticket.payload(copy.id))
    if not choice[1].submit(attempt, now):
        lane.counts["shadow_dropped_total"] += 1
        return
    lane.counts["shadow_sent_total"] += 1
    lane.shadows += 1
    copy.timer = lane.loop.call_later(timeout_s, copy.late)
