"""The requests of one model in this process: those in flight, those that wait, what they may cost the replicas. Outlives snapshots."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

from penstock.serving.admission import LONGEST_RETRY_S, WaitingLine, retry_after_s
from penstock.serving.balance import Choice, Model, Want, choose, empty, reopens_in
from penstock.serving.circuit import Budget
from penstock.serving.load import ModelLoad, Rolling

HELD = ""  # the group of those that wait for a first replica; no version has this name
COUNTED: Mapping[str, str] = {
    "retries_total": "Attempts after one that failed.",
    "hedged_total": "Second attempts because the first was slow.",
    "shed_total": "Requests refused because too many waited.",
    "fallback_total": "Requests passed on to another model.",
    "silent_total": "Attempts given up because no answer began in time.",
    "shadow_sent_total": "Copies sent to a shadow version.",
    "shadow_dropped_total": "Copies not sent because too many were under way.",
}


class Waiter(Hashable, Protocol):
    """A request that may wait here."""

    priority: int

    @property
    def ticket(self) -> Want: ...

    def act(self, choice: Choice | None, now: float, turn: bool = False) -> None: ...

    def shed(self, gone: bool = False) -> None:
        """It cannot wait: too many do, or (`gone`) its model left."""
        ...


class Lane:
    """`open`: requests let in and not over, waiting or not. `find` gives the lane of another model (for fallbacks),
    `copied` is told of each shadow copy (shadow.py Copy) that is over.
    """

    def __init__(self, model: Model, find: Callable[[str], Lane | None], copied: Callable[[Any], None]) -> None:
        now = time.monotonic()
        self.model, self.find, self.copied = model, find, copied
        self.loop = asyncio.get_running_loop()
        self.line: WaitingLine[Waiter] = WaitingLine(model.route.protection.queue)
        self.arrived, self.answered = Rolling(now), Rolling(now)
        self.budget = Budget(now, self.arrived)
        self.open = self.shadows = 0
        self.last_request = 0.0  # monotonic
        self.counts = dict.fromkeys(COUNTED, 0)
        self._due: list[str | None] = []
        self._pumping = False

    def use(self, model: Model) -> None:
        """Another snapshot is in force: those that wait look again."""
        self.model = model
        self.line.bound = model.route.protection.queue
        if self.line:
            self._pump(None)

    def close(self) -> None:
        """The model left the snapshot: nobody waits for it any more."""
        for waiter in self.line:
            if self.line.remove(waiter):
                waiter.shed(gone=True)

    def enter(self, now: float) -> None:
        self.open += 1
        self.arrived.add(now)
        self.last_request = now

    def leave(self, now: float) -> None:
        self.open -= 1
        self.answered.add(now)

    def wait(self, waiter: Waiter, group: str, again: bool = False) -> None:
        """Lets it wait; the least important goes when there are too many."""
        shed = self.line.push(waiter, group, waiter.priority, again)
        if shed is not None:
            self.counts["shed_total"] += 1
            shed.shed()

    def pump(self, group: str) -> None:
        """There may be room at a version: those that wait for it go, as long as there is."""
        if self.line.waiting:
            self._pump(group)

    def retry_after(self, now: float) -> int:
        """Whole seconds after which asking again may help: those that wait are answered, or a circuit is tried again."""
        wait = retry_after_s(len(self.line), self.answered.rate(now)) if self.line else 1
        return min(max(wait, math.ceil(reopens_in(self.model, now))), LONGEST_RETRY_S)

    def load(self, now: float) -> ModelLoad:
        held = self.line.count(HELD)
        waiting = len(self.line) - held
        rate = round(self.arrived.rate(now), 3)
        in_flight, wall = self.open - held - waiting, time.time()
        last = wall - (now - self.last_request) if self.last_request else 0.0
        return ModelLoad(in_flight, waiting, held, rate, last, self.counts["shed_total"], wall)

    def counted(self, now: float) -> dict[str, float]:
        """By the names of COUNTED and gateway_metrics.PER_MODEL."""
        load = self.load(now)
        memory = [version.memory for version in self.model.versions.values()]
        gauges = {
            "waiting": load.waiting,
            "held": load.held,
            "shadow_in_flight": self.shadows,
            "prefix_hits_total": sum(m.hits for m in memory),
            "prefix_misses_total": sum(m.misses for m in memory),
        }
        return {**self.counts, **gauges}

    def _pump(self, group: str | None) -> None:
        """None: everybody. Who goes may end at once and pump again: that is put off, so that the stack stays flat."""
        self._due.append(group)
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._due:
                due = self._due.pop()
                self._all() if due is None else self._next(due)
        finally:
            self._pumping = False

    def _next(self, group: str) -> None:
        now = time.monotonic()
        while (waiter := self.line.first(group)) is not None:
            choice = choose(self.model, waiter.ticket, now)
            if choice is not None and choice[1] is None and choice[0].name == group:
                return
            self.line.remove(waiter)
            waiter.act(choice, now, turn=True)

    def _all(self) -> None:
        now = time.monotonic()
        for waiter in self.line:
            choice = choose(self.model, waiter.ticket, now)
            if choice is None and empty(self.model, waiter.ticket):
                continue
            if waiter in self.line:  # not shed or gone in the meantime
                self.line.remove(waiter)
                waiter.act(choice, now, turn=True)
