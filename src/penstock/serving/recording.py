"""From what happened to a request to its record."""

from __future__ import annotations

import time

from penstock.serving.asking import BYTES_PER_TOKEN, RELAYED, cost_usd, session_of
from penstock.serving.errors import RequestRefused
from penstock.serving.exchange import Exchange
from penstock.serving.records import Record
from penstock.serving.relay import Relay
from penstock.serving.shadow import Copy
from penstock.serving.snapshot import KeyEntry
from penstock.serving.tracing import span_id, trace_of


def record_of(relay: Relay, status: int, code: str | None, now: float) -> Record:
    """Of a request that got as far as its model's lane."""
    ticket, exchange, answer, last = relay.ticket, relay.exchange, relay.answer, relay.last
    route, trace = ticket.lane.model.route, ticket.trace
    total, (prompt, completion) = now - exchange.arrived, answer.usage
    guard, paid = answer.guard, status < 400
    if answer.started and not prompt:
        # A stream that was cut (client gone, time over, blocked, replica lost): what was written was had. The replica said no numbers, so
        # an event counts as a token.
        prompt, completion, paid = len(exchange.body) // BYTES_PER_TOKEN, answer.events, True
    return Record(  # by position: names for so many fields would take three times as long
        round(time.time() - total, 6),
        ticket.id,
        route.name,
        last.version.name if last is not None else None,
        last.replica.route.id if last is not None else None,
        ticket.route,
        ticket.key.id,
        status,
        len(exchange.body),
        exchange.sent,
        prompt,
        completion,
        _ms((relay.sent or now) - exchange.arrived),
        _ms((answer.first or now) - exchange.arrived),
        _ms(total),
        relay.attempts,
        code,
        trace.trace,
        trace.span,
        trace.parent,
        session_of(ticket.want.sticky),
        ticket.want.adapter,
        route.experiment if ticket.want.pinned is None else None,  # a version that was named was not drawn
        None,
        ticket.asked if route.name != ticket.asked else None,
        relay.hedges > 0,
        ticket.stream,
        ticket.flags if guard is None else (*ticket.flags, *guard.flags),
        _ms(ticket.guard_s if guard is None else ticket.guard_s + guard.seconds),
        cost_usd(route.price, prompt, completion) if paid else 0.0,
    )


def record_of_copy(copy: Copy, now: float) -> Record:
    """Of a shadow copy. It costs the client nothing."""
    ticket, attempt = copy.ticket, copy.attempt
    route, total = ticket.lane.model.route, now - copy.began
    first = _ms((copy.first or now) - copy.began)
    return Record(
        ts=round(time.time() - total, 6),
        id=copy.id,
        model=route.name,
        version=attempt.version.name if attempt is not None else None,
        replica=attempt.replica.route.id if attempt is not None else None,
        route=ticket.route,
        key=ticket.key.id,
        status=copy.status,
        bytes_in=len(ticket.body),
        bytes_out=copy.bytes_out,
        prompt_tokens=copy.usage[0],
        completion_tokens=copy.usage[1],
        queue_ms=0.0,
        first_ms=first,
        total_ms=_ms(total),
        attempts=1,
        trace=ticket.trace.trace,
        span=span_id(),
        parent=ticket.trace.span,
        session=session_of(ticket.want.sticky),
        adapter=ticket.want.adapter,
        experiment=route.experiment if ticket.want.pinned is None else None,
        shadow_of=ticket.id,
        stream=ticket.stream,
    )


def record_of_refusal(exchange: Exchange, ident: str, refused: RequestRefused, known: tuple[KeyEntry, str | None] | None) -> Record:
    """Of a request that got no further than the gateway's own checks. `known`: key, model."""
    total, trace = time.monotonic() - exchange.arrived, trace_of(exchange.headers)
    key, model = known if known is not None else (None, None)
    return Record(
        ts=round(time.time() - total, 6),
        id=ident,
        model=model,
        version=None,
        replica=None,
        route=exchange.path if exchange.path in RELAYED else "",
        key=key.id if key is not None else None,
        status=refused.status,
        bytes_in=len(exchange.body),
        bytes_out=exchange.sent,
        prompt_tokens=0,
        completion_tokens=0,
        queue_ms=_ms(total),
        first_ms=_ms(total),
        total_ms=_ms(total),
        attempts=0,
        error=refused.code,
        trace=trace.trace,
        span=trace.span,
        parent=trace.parent,
        flags=refused.flags,
        guard_ms=_ms(refused.seconds),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
