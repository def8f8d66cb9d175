"""The in-memory twin of a vendor's service for batches: what control/elsewhere.py is tested by, without processes.

Orders are answered by a function; what goes wrong is said before. Files of answers appear one a look, as a service may show them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.core.errors import PenstockError, PlatformAway
from penstock.platforms.batches import Answer, BatchOrder, answer_of
from penstock.platforms.quotes import Quote, quoted
from penstock.platforms.remote.driver import Sight
from penstock.platforms.remote.machines import Machine
from penstock.store.artifacts import Artifacts

Answering = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


@dataclass(slots=True)
class MemoryBatches:
    """`answering`: what becomes of an order, as a replica tells it; None: it takes its whole shard with it, and where the service is
    `fragile` all later shards of its batch.

    `lose_answers`, `refuse`: of the next submits. `hold`: looks for which a batch runs on after its last shard.
    """

    artifacts: Artifacts
    answering: Answering
    service: str = "the twin"
    grouped: bool = True
    most_bytes: int = 1 << 20
    lose_answers: int = 0
    refuse: PenstockError | None = None
    hold: int = 0
    fragile: bool = False
    orders: dict[str, BatchOrder] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)  # rows, as often as they were
    there: set[str] = field(default_factory=set)  # names of what somebody pays for
    submitted: list[str] = field(default_factory=list)
    _todo: dict[str, list[str]] = field(default_factory=dict)
    _ends: dict[str, Sight] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)

    def machine(self, wanted: str | None, instances: int) -> Machine:  # noqa: ARG002
        return Machine(wanted or "small", 2, 1 << 30, usd_per_h=0.5)

    def quote(self, machine: Machine, instances: int) -> Quote:
        return quoted(machine, instances, False, ("run",))

    def submit(self, order: BatchOrder) -> None:
        if self.refuse is not None:
            raise self.refuse
        if order.name not in self.orders:
            self.orders[order.name] = order
            self.submitted.append(order.name)
            self.there.add(order.name)
            self._todo[order.name] = [*order.shards, *[""] * self.hold]
        if self.lose_answers > 0:
            self.lose_answers -= 1
            raise PlatformAway("the connection was lost before the answer came")

    def observe(self, order: BatchOrder) -> Sight | None:
        """Each look moves it on by a shard."""
        if order.name not in self.orders:
            return None
        if order.name not in self._ends:
            todo = self._todo[order.name]
            if todo:
                self._shard(order, todo.pop(0))
                return Sight("running")
            failed = order.name in self._lost
            self._ends[order.name] = Sight("failed", "a container ended") if failed else Sight("succeeded")
        return self._ends[order.name]

    def cancel(self, order: BatchOrder) -> None:
        if order.name in self.orders:
            self._ends.setdefault(order.name, Sight("stopped"))

    def end(self, name: str, sight: Sight) -> None:
        """As somebody else, or a failing service, ends it."""
        self._ends[name] = sight

    def forget(self, name: str) -> None:
        """Deleted behind our back."""
        self.orders.pop(name)

    def collect(self, order: BatchOrder, known: Collection[str]) -> Iterator[tuple[str, Iterator[Answer]]]:
        for name in self.artifacts.notes(order.answered):
            if name not in known:
                rows = json.loads(self.artifacts.get_note(name) or b"[]")
                yield name, (answer_of(row) for row in rows)

    def tail(self, order: BatchOrder) -> Sequence[str]:  # noqa: ARG002
        return ["the last line"]

    def remove(self, order: BatchOrder) -> None:
        self.there.discard(order.name)

    def _shard(self, order: BatchOrder, shard: str) -> None:
        rows: list[Mapping[str, Any] | None] = []
        if self.fragile and order.name in self._lost:
            return
        for line in (self.artifacts.get_note(f"{order.asked}/{shard}") or b"").splitlines() if shard else ():
            for one in json.loads(line)["instances"]:
                self.asked.append(int(one["row"]))
                rows.append(self.answering(one))
        if None in rows:
            self._lost.add(order.name)
        elif shard:
            self.artifacts.put_note(f"{order.answered}/{shard}.out", json.dumps(rows).encode())
