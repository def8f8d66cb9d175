"""From what happened to a request to its record."""

from __future__ import annotations

import time

from penstock.serving.asking import BYTES_PER_TOKEN, cost_usd, session_of
from penstock.serving.caller import RELAYED, Caller
from penstock.serving.errors import RequestRefused
from penstock.serving.exchange import Exchange
from penstock.serving.records import Record
from penstock.serving.relay import Relay
from penstock.serving.shadow import Copy
from penstock.serving.ticket import Ticket
from penstock.serving.tracing import span_id, trace_of


def record_of(relay: Relay, status: int, code: str | None, now: float) -> Record:
    """Of a request that got as far as its model's lane."""
    ticket, exchange, answer, last = relay.ticket, relay.exchange, relay.answer, relay.last
    route, (trace, span, parent, _) = ticket.lane.model.route, ticket.trace
    arrived, (prompt, completion) = exchange.arrived, answer.usage
    flags, guard_s, paid = ticket.flags, ticket.guard_s, status < 400
    if answer.guard is not None:
        flags, guard_s = (*flags, *answer.guard.flags), guard_s + answer.guard.seconds
    failed_on = relay.failed_on
    if failed_on and status >= 500 and last is not None and last.version.name == failed_on[-1]:
        failed_on = failed_on[:-1]  # that one is what the client was told
    if answer.started and not prompt:
        # A stream that was cut (client gone, time over, blocked, replica lost): what was written was had. The replica said no numbers, so
        # an event counts as a token.
        prompt, completion, paid = len(exchange.body) // BYTES_PER_TOKEN, answer.events, True
    fields = (  # by position, and rounded without calls: round() alone would cost as much as all the rest
        ((time.time() - now + arrived) * 1e6 // 1) / 1e6,
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
        (((relay.sent or now) - arrived) * 1e6 // 1) / 1000,
        (((answer.first or now) - arrived) * 1e6 // 1) / 1000,
        ((now - arrived) * 1e6 // 1) / 1000,
        relay.attempts,
        code,
        trace,
        span,
        parent,
        session_of(ticket.sticky),
        ticket.adapter,
        route.experiment if ticket.pinned is None else None,  # a version that was named was not drawn
        None,
        ticket.asked if route.name != ticket.asked else None,
        relay.hedges > 0,
        ticket.stream,
        flags,
        _ms(guard_s) if guard_s else 0.0,
        cost_usd(route.price, prompt, completion) if paid else 0.0,
        0.0,
        None,
        None,
        *answer.best,
        ticket.metadata,
        ticket.training,
        failed_on,
    )
    return tuple.__new__(Record, fields)


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
        session=session_of(ticket.sticky),
        adapter=ticket.adapter,
        experiment=route.experiment if ticket.pinned is None else None,
        shadow_of=ticket.id,
        stream=ticket.stream,
        label=copy.best[0],
        confidence=copy.best[1],
        metadata=ticket.metadata,
        training=ticket.training,
    )


def record_of_refusal(exchange: Exchange, ident: str, refused: RequestRefused) -> Record:
    """Of a request that got no further than the gateway's own checks. Who asked for what: as far as the exchange's state knows."""
    total, trace, state = time.monotonic() - exchange.arrived, trace_of(exchange.headers), exchange.state
    key = state.key if isinstance(state, (Caller, Ticket)) else None
    model = state.asked if isinstance(state, Ticket) else None
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
        training=state.training if isinstance(state, (Caller, Ticket)) else True,
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
