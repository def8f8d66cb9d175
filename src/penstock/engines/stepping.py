"""One thread that steps a continuous-batching pipeline, and hands each request's new tokens to its caller.

Requests join and leave between two steps. Callers live on event loops: a step sends each loop one message.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.core.errors import BadInput, EngineClosed, ReplicaFailed
from penstock.engines.tally import Tally


@dataclass(frozen=True, slots=True)
class Step:
    """Tokens of one step and their log-probabilities where asked for; `finish_reason` is "stop" or "length" in the last."""

    ids: Sequence[int]
    finish_reason: str | None = None
    logprobs: Sequence[float] = ()


_REASONS = {1: "stop", 2: "length"}  # by GenerationFinishReason's values; 0 is none
Told = tuple[int, Step | BaseException]  # by the ticket of this index


@dataclass(slots=True, eq=False)
class Ticket:
    """An answer on its way: prompt ids (1, tokens) and generation settings as the pipeline takes them; `steps` may be shared."""

    ids: Any
    settings: Any
    loop: asyncio.AbstractEventLoop
    index: int = 0
    steps: asyncio.Queue[Told] = field(default_factory=asyncio.Queue)
    handle: Any = None
    left: bool = False


class Stepper:
    def __init__(self, pipeline: Any, tally: Tally, name: str) -> None:
        self._pipeline, self._tally = pipeline, tally
        self._waiting: list[Ticket] = []
        self._running: list[Ticket] = []
        self._wake = threading.Condition()
        self._closed = False
        self._broken: ReplicaFailed | None = None
        self._count = 0
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    def submit(self, ticket: Ticket) -> None:
        """Queues `ticket`; its `steps` fill from now on. Raises EngineClosed or ReplicaFailed."""
        with self._wake:
            if self._broken:
                raise self._broken
            if self._closed:
                raise EngineClosed("the engine is closed")
            self._waiting.append(ticket)
            self._wake.notify()

    def leave(self, ticket: Ticket) -> None:
        """The caller wants no more: its work ends with the step that runs."""
        with self._wake:
            ticket.left = True

    def close(self) -> None:
        """Cancels all with EngineClosed. A second call does nothing."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _serve(self) -> None:
        while self._admit():
            begun = time.perf_counter()
            try:
                self._pipeline.step()
            except Exception as error:
                self._broken = ReplicaFailed(f"OpenVINO GenAI failed in a step: {error}")
                self._end(self._broken)
                return
            self._tally.batch(len(self._running), time.perf_counter() - begun)
            self._collect()
        self._end(EngineClosed("the engine was closed while this request ran"))

    def _admit(self) -> bool:
        """Lets requests in and out; waits while there are none. False when closed."""
        with self._wake:
            while True:
                for ticket in self._running:
                    if ticket.left:
                        ticket.handle.cancel()
                self._running = [ticket for ticket in self._running if not ticket.left]
                arrived, self._waiting = [ticket for ticket in self._waiting if not ticket.left], []
                if self._closed:
                    self._running += arrived
                    return False
                for ticket in arrived:
                    self._start(ticket)
                if self._running:
                    return True
                self._wake.wait()

    def _start(self, ticket: Ticket) -> None:
        self._count += 1
        try:
            ticket.handle = self._pipeline.add_request(self._count, ticket.ids, ticket.settings)
        except RuntimeError as error:
            _send([(ticket, BadInput(f"OpenVINO GenAI refuses the request: {str(error).strip().splitlines()[-1]}"))])
            return
        self._running.append(ticket)

    def _collect(self) -> None:
        news: list[tuple[Ticket, Step | BaseException]] = []
        for ticket in list(self._running):
            step = _read(ticket.handle)
            if step is None:
                continue
            news.append((ticket, step))
            if not isinstance(step, Step) or step.finish_reason:
                self._running.remove(ticket)
        self._tally.add(completion_tokens=sum(len(step.ids) for _, step in news if isinstance(step, Step)))
        _send(news)

    def _end(self, error: BaseException) -> None:
        with self._wake:
            gone, self._running, self._waiting = self._running + self._waiting, [], []
        for ticket in gone:
            if ticket.handle is not None:
                ticket.handle.cancel()
        if self._broken is None and self._pipeline.has_non_finished_requests():
            self._pipeline.step()  # gives back the cache of what was cancelled
        _send([(ticket, error) for ticket in gone])


def _read(handle: Any) -> Step | BaseException | None:
    """What the handle has since it was last read; None when nothing."""
    ids: list[int] = []
    logprobs: list[float] = []
    reason = 0
    while handle.can_read():
        for output in handle.read().values():
            ids += output.generated_ids
            logprobs += output.generated_log_probs
            reason = output.finish_reason.value
    if reason:
        return Step(ids, _REASONS[reason], logprobs)
    if ids:
        return Step(ids, None, logprobs)
    if handle.get_status().name == "IGNORED":
        return BadInput("the request does not fit into the engine's cache", remedy="Raise the setting `cache_gib`, or shorten the prompt.")
    return None


def _send(news: Sequence[tuple[Ticket, Step | BaseException]]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, Step | BaseException]]] = {}
    for one in news:
        by_loop.setdefault(one[0].loop, []).append(one)
    for loop, mine in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_put, mine)


def _put(news: Sequence[tuple[Ticket, Step | BaseException]]) -> None:
    for ticket, step in news:
        ticket.steps.put_nowait((ticket.index, step))
