"""What becomes of a request that its first replica does not answer, while nothing was passed on: another try, another model, or a refusal.

Hedge: the first attempt is slow. Retry: none is left. Hold: there is no replica at all yet. Fall back: no replica of this model may answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from penstock.serving.answer import Answer
from penstock.serving.attempt import Attempt
from penstock.serving.balance import Version, Want, choose, empty
from penstock.serving.errors import RequestRefused, busy
from penstock.serving.exchange import Exchange
from penstock.serving.lane import HELD, Waiter
from penstock.serving.ticket import Ticket
from penstock.serving.upstream import Replica

log = logging.getLogger("penstock.gateway")


class Request(Waiter, Protocol):
    """What is asked of a request here; relay.Relay is one.

    `since`: attempts before the model that is asked now; `live`: those under way; `winner`: the one that is passed on.
    """

    ticket: Ticket
    exchange: Exchange
    attempts: int
    hedges: int
    since: int
    over: bool
    answer: Answer
    live: list[Attempt]
    winner: Attempt | None
    payload: bytes
    timer: asyncio.TimerHandle | None
    fallbacks: list[str] | None  # names that are left to try; None: none was tried yet

    def send(self, version: Version, replica: Replica, now: float) -> None: ...

    def refuse(self, refused: RequestRefused) -> None: ...


def hedge(request: Request) -> None:
    """Asks another replica as well, where one has room."""
    request.timer = None
    ticket, now = request.ticket, time.monotonic()
    lane = ticket.lane
    if request.over or request.winner is not None or not request.live:
        return
    choice = choose(lane.model, ticket, now)
    if choice is None or choice[1] is None or not lane.budget.spend(now, lane.model.route.protection.retry_budget):
        return
    lane.counts["hedged_total"] += 1
    request.hedges += 1
    request.send(choice[0], choice[1], now)


def again(request: Request) -> None:
    """No attempt is left."""
    stop_timer(request)
    lane, now = request.ticket.lane, time.monotonic()
    protection, choice = lane.model.route.protection, None
    if request.attempts - request.hedges - request.since <= protection.retries:
        choice = choose(lane.model, request.ticket, now)
    if choice is not None and lane.budget.spend(now, protection.retry_budget):
        lane.counts["retries_total"] += 1
        request.act(choice, now)
    elif not fall_back(request, now):
        wait = lane.retry_after(now)
        message = f"Replicas of {lane.model.name!r} did not answer in {request.attempts} attempts; try again in {wait} s"
        request.refuse(busy(message, "no_replica", wait))


def nowhere(request: Request, now: float) -> None:
    """No replica can be asked: hold on, ask another model, or give up."""
    lane = request.ticket.lane
    left_s = request.exchange.arrived + lane.model.route.protection.hold_s - now
    if left_s > 0 and request.fallbacks is None and empty(lane.model, request.ticket):
        request.timer = lane.loop.call_later(left_s, _held_too_long, request)
        lane.wait(request, HELD)
    elif not fall_back(request, now):
        wait = lane.retry_after(now)
        request.refuse(busy(f"No replica of {lane.model.name!r} can answer now; try again in {wait} s", "no_replica", wait))


def fall_back(request: Request, now: float) -> bool:
    """Passes the request on to the next fallback that has a replica. Its own fallbacks are not followed, so there is no circle."""
    ticket = request.ticket
    if request.fallbacks is None:
        request.fallbacks = [] if ticket.exact else list(ticket.lane.model.route.protection.fallback)
    task = ticket.lane.model.route.task
    while request.fallbacks:
        name = request.fallbacks.pop(0)
        lane = ticket.lane.find(name)
        if name == ticket.asked or lane is None or lane.model.route.task != task:
            continue
        choice = choose(lane.model, Want(ticket.sticky, prompt=ticket.prompt), now)
        if choice is None:
            continue
        log.warning("request %s is passed on to model %s", ticket.id, name)
        ticket.lane.counts["fallback_total"] += 1
        ticket.lane.leave(now)
        lane.enter(now)
        ticket.pass_on(lane)
        request.answer.lines += b"x-penstock-fallback: %b\r\n" % name.encode()
        request.since, request.payload = request.attempts - request.hedges, b""
        request.act(choice, now)
        return True
    return False


def stop_timer(request: Request) -> None:
    if request.timer is not None:
        request.timer.cancel()
        request.timer = None


def _held_too_long(request: Request) -> None:
    request.timer = None
    if request.ticket.lane.line.remove(request):
        nowhere(request, time.monotonic())
