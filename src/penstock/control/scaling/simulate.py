"""A fleet of replicas in simulated time: the same policies as live, fed by a trace, without a process started.

A discrete-event model: requests wait in one line at the gateway, a replica works on at most `slots` at once, each for its own fixed time;
starts take `cold_start_s`; the policy looks every `look_s`, as the control loop does; replicas that leave finish what they have.
Not covered: that a replica slows down when it works on more at once (measure the cost at full slots), failures, and retries.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from penstock.control.scaling.forecast import expected
from penstock.control.scaling.policy import Observation, Rules, State, decide
from penstock.serving.load import WINDOW_S
from penstock.spec.deploy import Scale


@dataclass(frozen=True, slots=True)
class Arrival:
    """`at` in seconds since the epoch, `work_s` the time that a replica takes for it."""

    at: float
    work_s: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """What does not depend on the policy. `queue`: requests that may wait; `hold_s`: how long one waits for a first replica."""

    slots: int = 8
    cold_start_s: float = 10.0
    look_s: float = 1.0
    queue: int = 1024
    hold_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Moment:
    """At one look of the policy. `demand`: requests in flight or waiting."""

    at: float
    wanted: int
    ready: int
    demand: int


@dataclass(slots=True)
class Outcome:
    """`waits`: seconds until a replica took each answered request, by arrival; `busy_s` of `replica_s` were spent on work."""

    waits: list[float] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    dropped: int = 0
    starts: int = 0
    replica_s: float = 0.0
    busy_s: float = 0.0
    changes: int = 0

    def wait(self, share: float) -> float:
        """The quantile of the waits, 0 where there was none."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))] if ordered else 0.0


@dataclass(slots=True)
class _Replica:
    number: int
    ready_at: float
    started_at: float
    working: int = 0
    leaving: bool = False


def simulate(arrivals: Sequence[Arrival], scale: Scale, fleet: Fleet, history: Mapping[int, float] | None = None) -> Outcome:
    """Runs until everything is answered. `arrivals` in order of time; it begins with as many ready replicas as the bounds ask for, one at
    least where they allow it."""
    return _Run(arrivals, scale, fleet, history or {}).run()


class _Run:
    def __init__(self, arrivals: Sequence[Arrival], scale: Scale, fleet: Fleet, history: Mapping[int, float]) -> None:
        self.arrivals, self.scale, self.fleet, self.history = arrivals, scale, fleet, history
        self.out, self.state = Outcome(), State()
        self.replicas: list[_Replica] = []
        self.line: deque[Arrival] = deque()
        self.ends: list[tuple[float, int, _Replica]] = []
        self.recent: deque[float] = deque()
        self.last_request, self.numbers, self.ties = 0.0, itertools.count(), itertools.count()
        self.foreseen: tuple[int, int | None] = (-1, None)

    def run(self) -> Outcome:
        start = self.arrivals[0].at if self.arrivals else 0.0
        self._look(start, first=True)
        look, index = start + self.fleet.look_s, 0
        while index < len(self.arrivals) or self.ends or self.line:
            arrival = self.arrivals[index].at if index < len(self.arrivals) else math.inf
            end = self.ends[0][0] if self.ends else math.inf
            if end <= min(arrival, look):
                self._end(end)
            elif arrival <= look:
                self._arrive(self.arrivals[index])
                index += 1
            else:
                self._look(look)
                look += self.fleet.look_s
        for replica in list(self.replicas):
            self._remove(replica, look)
        return self.out

    def _arrive(self, one: Arrival) -> None:
        self.last_request = one.at
        self.recent.append(one.at)
        if len(self.line) >= self.fleet.queue:
            self.out.dropped += 1
            return
        self.line.append(one)
        self._dispatch(one.at)

    def _dispatch(self, now: float) -> None:
        """Sends what waits, in order, to the least loaded replica that has room."""
        free = [r for r in self.replicas if r.ready_at <= now and not r.leaving and r.working < self.fleet.slots]
        while self.line and free:
            one, replica = self.line.popleft(), min(free, key=lambda r: r.working)
            self.out.waits.append(max(0.0, now - one.at))
            self.out.busy_s += one.work_s
            replica.working += 1
            heapq.heappush(self.ends, (now + one.work_s, next(self.ties), replica))
            if replica.working >= self.fleet.slots:
                free.remove(replica)

    def _end(self, now: float) -> None:
        replica = heapq.heappop(self.ends)[2]
        replica.working -= 1
        if replica.leaving and not replica.working:
            self._remove(replica, now)
        self._dispatch(now)

    def _look(self, now: float, *, first: bool = False) -> None:
        self._dispatch(now)  # to those that became ready since
        ready = sum(r.ready_at <= now and not r.leaving for r in self.replicas)
        if not ready:
            while self.line and now - self.line[0].at > self.fleet.hold_s:
                self.line.popleft()
                self.out.dropped += 1
        while self.recent and self.recent[0] < now - WINDOW_S:
            self.recent.popleft()
        flying = sum(r.working for r in self.replicas)
        seen = Observation(flying, len(self.line), len(self.recent) / WINDOW_S, self.last_request, ready)
        decision = decide(self.state, seen, Rules(self.scale, self.fleet.cold_start_s, self._expected(now)), now)
        self.out.changes += self.state.wanted is not None and decision.wanted != self.state.wanted
        self.state = decision.state
        self._scale(decision.wanted, now, at_once=first)
        self.out.moments.append(Moment(now, decision.wanted, ready if not first else decision.wanted, flying + len(self.line)))

    def _expected(self, now: float) -> int | None:
        if not (self.scale.predict and self.history):
            return None
        if self.foreseen[0] != int(now // 30):  # it changes by slots of five minutes
            load = expected(self.history, now, self.fleet.cold_start_s)
            self.foreseen = (int(now // 30), None if load is None else math.ceil(load / self.scale.target_concurrency))
        return self.foreseen[1]

    def _scale(self, wanted: int, now: float, *, at_once: bool) -> None:
        staying = [r for r in self.replicas if not r.leaving]
        for _ in range(wanted - len(staying)):
            self.replicas.append(_Replica(next(self.numbers), now if at_once else now + self.fleet.cold_start_s, now))
            self.out.starts += not at_once
        for replica in sorted(staying, key=lambda r: (r.ready_at > now, r.number))[wanted:]:  # the youngest go, those that start first
            replica.leaving = True
            if not replica.working:
                self._remove(replica, now)

    def _remove(self, replica: _Replica, now: float) -> None:
        self.replicas.remove(replica)
        self.out.replica_s += now - replica.started_at


def demand_by_slot(arrivals: Sequence[Arrival], slot_s: float, window_s: float) -> dict[int, float]:
    """Slot → the most requests at once, averaged over `window_s`, if every request were served as it came: what the history would hold."""
    steps = sorted([(a.at, 1) for a in arrivals] + [(a.at + a.work_s, -1) for a in arrivals])
    area: dict[int, float] = {}  # request-seconds by window
    level, before = 0, steps[0][0] if steps else 0.0
    for at, change in steps:
        while before < at:
            window = math.floor(before / window_s)
            until = min(at, (window + 1) * window_s)
            area[window] = area.get(window, 0.0) + level * (until - before)
            before = until
        level += change
    slots: dict[int, float] = {}
    for window, amount in area.items():
        slot = math.floor(window * window_s / slot_s)
        slots[slot] = max(slots.get(slot, 0.0), amount / window_s)
    return slots
