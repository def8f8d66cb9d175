"""What the gateway does with one request: check the key, find the model, relay or answer, count and record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.serving.answer import Answer
from penstock.serving.asking import estimate, find, ticket_of
from penstock.serving.caller import RELAYED, Caller, posted
from penstock.serving.capture import captured
from penstock.serving.errors import RequestRefused, broken
from penstock.serving.exchange import Exchange
from penstock.serving.feedback import FeedbackWriter
from penstock.serving.identity import request_id
from penstock.serving.limits import Limiter
from penstock.serving.metrics import RequestMetrics
from penstock.serving.own import OwnRoutes
from penstock.serving.params import parse_object
from penstock.serving.recording import record_of, record_of_copy, record_of_refusal
from penstock.serving.records import RecordWriter
from penstock.serving.relay import Relay
from penstock.serving.server import HttpServer
from penstock.serving.shadow import Copy
from penstock.serving.table import Table
from penstock.serving.ticket import Ticket

INLINE_CHARS = 16_384  # beyond it a request's text is checked in a thread


class Gateway:
    """Checks, routes, relays and records. One per process; `processes` share the port."""

    def __init__(self, folder: Path, worker: int | None = None, processes: int = 1) -> None:
        self.folder, self.worker = folder, worker
        self.loop = asyncio.get_running_loop()
        self.limiter = Limiter(folder, worker)
        self.table = Table(folder / "snapshot.json", processes, self._copied)
        self.metrics = RequestMetrics("penstock")
        self.records = RecordWriter(folder / "records")
        self.feedback = FeedbackWriter(folder / "feedback")
        self.in_flight = 0
        self.started = time.time()
        self.server: HttpServer | None = None
        self.scheme = "http"
        self.own = OwnRoutes(self)
        self._tasks: set[asyncio.Task[None]] = set()

    def refresh(self) -> bool:
        """Looks for another snapshot; True when one took effect."""
        changed = self.table.refresh(self.limiter.configure)
        if changed and self.server is not None:
            self.server.limits = self.table.snapshot.limits
        return changed

    def handle(self, exchange: Exchange) -> None:
        ident = request_id(exchange.headers)
        try:
            if exchange.path in RELAYED:
                self._relay(exchange, ident)
            else:
                self.own.answer(exchange, ident)
        except RequestRefused as refused:
            self.refuse(exchange, ident, refused)
        except Exception as error:
            self.refuse(exchange, ident, broken(error, ident, "The gateway failed", "gateway_failed"))

    def timed_out(self, exchange: Exchange) -> None:
        if isinstance(exchange.state, Relay):
            exchange.state.time_out()

    def refused(self, status: int) -> None:
        self.metrics.done("", "", "", status, 0.0)

    def refuse(self, exchange: Exchange, ident: str, refused: RequestRefused) -> None:
        """Answers, counts and records a request that got no further than the gateway's own checks."""
        if exchange.finished:
            return
        exchange.reply(refused.status, refused.body(), b"%bx-request-id: %b\r\n" % (refused.headers, ident.encode()))
        route = exchange.path if exchange.path in RELAYED else ""
        self.metrics.done(route, "", "", refused.status, time.monotonic() - exchange.arrived)
        self.records.add(record_of_refusal(exchange, ident, refused))

    def later(self, exchange: Exchange, ident: str, work: Any) -> None:
        """Runs a coroutine that answers the exchange; what it refuses is answered here."""

        async def run() -> None:
            try:
                await work
            except RequestRefused as refused:
                self.refuse(exchange, ident, refused)
            except Exception as error:
                self.refuse(exchange, ident, broken(error, ident, "The gateway failed", "gateway_failed"))

        task = self.loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _relay(self, exchange: Exchange, ident: str) -> None:
        caller, table = exchange.head.notes, self.table
        if caller is None or caller.keys is not table.keys:
            caller = exchange.state = Caller(exchange, table.keys)
            posted(exchange)
            exchange.head.notes = caller
        exchange.state = caller
        value = parse_object(exchange.body)
        ticket = ticket_of(exchange, ident, caller, find(table, caller.key, value), value)
        model = ticket.lane.model
        tokens, cost = estimate(exchange, value, model.route.price) if caller.counted else (0, 0.0)
        ticket.granted = self.limiter.admit(caller.key, tokens, exchange.arrived, cost)
        try:
            if model.guards is not None and model.guards.looks_at_input:
                if model.guards.input_size(exchange.path, value) > INLINE_CHARS:
                    self.later(exchange, ident, self._check_in_thread(exchange, ticket, value))
                    return
                _checked(ticket, model.guards.input(exchange.path, value))
            self._go(exchange, ticket)
        except Exception:
            self.limiter.settle(ticket.granted, 0, 0.0)
            raise

    async def _check_in_thread(self, exchange: Exchange, ticket: Ticket, value: Mapping[str, Any]) -> None:
        guards = ticket.lane.model.guards
        try:
            if guards is not None:
                _checked(ticket, await self.loop.run_in_executor(None, guards.input, exchange.path, value))
        except Exception:
            self.limiter.settle(ticket.granted, 0, 0.0)
            raise
        if exchange.finished:  # the client left
            self.limiter.settle(ticket.granted, 0, 0.0)
        else:
            self._go(exchange, ticket)

    def _go(self, exchange: Exchange, ticket: Ticket) -> None:
        route, guards = ticket.lane.model.route, ticket.lane.model.guards
        lines = f"x-request-id: {ticket.id}\r\n".encode()
        if ticket.granted.state.rated:
            lines += ticket.granted.headers
        answer = Answer(exchange, lines, guards.output(ticket.route, ticket.stream) if guards is not None else None)
        if route.capture is not None:
            answer.kept = captured(route.capture, ticket.id, ticket.body)
        exchange.cancel_on_eof = ticket.prompt is not None
        exchange.deadline = exchange.arrived + route.protection.timeout_s
        relay = exchange.state = Relay(ticket, exchange, answer, self._done)
        self.in_flight += 1
        relay.go()

    def _done(self, relay: Relay, status: int, code: str | None, now: float) -> None:
        self.in_flight -= 1
        record = record_of(relay, status, code, now)
        ticket, answer, arrived = relay.ticket, relay.answer, relay.exchange.arrived
        model, version, prompt, completion = record.model or "", record.version or "", record.prompt_tokens, record.completion_tokens
        self.metrics.done(ticket.route, model, version, status, now - arrived)
        if ticket.stream and answer.started:
            self.metrics.first(model, version, answer.first - arrived)
        for blamed in record.failed_on:
            self.metrics.blamed(model, blamed)
        if prompt or completion:
            self.metrics.used(model, version, prompt, completion)
        self.limiter.settle(ticket.granted, prompt + completion, record.cost_usd)
        self.records.add(record, answer.kept)

    def _copied(self, copy: Copy) -> None:
        self.records.add(record_of_copy(copy, time.monotonic()))

    def sums(self) -> dict[str, float]:
        """This process's counts, by the names of gateway_metrics.SUMMED."""
        return {
            "in_flight": self.in_flight,
            "connections": len(self.server.connections) if self.server is not None else 0,
            "snapshot_errors_total": self.table.errors,
            "records_written_total": self.records.written,
            "records_dropped_total": self.records.dropped,
            "texts_dropped_total": self.records.texts_dropped,
            "feedback_total": self.feedback.written,
        }

    async def close(self) -> None:
        """Writes what is not written yet."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)
        await self.records.close()
        self.limiter.close()


def _checked(ticket: Ticket, found: Any) -> None:
    """Takes over what the guards say of a request."""
    ticket.flags, ticket.guard_s = found.flags, found.seconds
    if found.changed:
        ticket.change(found.value)
