"""One load test from beginning to end: warm-up, the load, the report; and many of them to find the knee."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from penstock.control.loadtest.arrivals import Arrivals, Piece, Shape, constant, times
from penstock.control.loadtest.drive import Sending, closed_loop, open_loop
from penstock.control.loadtest.knee import Promise, Search, Trial, judge, turning_point
from penstock.control.loadtest.orders import Order
from penstock.control.loadtest.recovery import recovery
from penstock.control.loadtest.summary import by_piece, summarise
from penstock.control.loadtest.tally import Tally
from penstock.core.errors import PenstockError
from penstock.serving.address import Address
from penstock.serving.client import Client

HOPELESS = 8.0  # times as many in flight as the promise allows by Little's law
LEAST_TRIAL_S, MOST_TRIAL_S, SETTLE_S = 2.0, 60.0, 1.0
TRIES = 3


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go. `key` never leaves this process but in the authorization header."""

    url: str
    key: str | None
    headers: tuple[tuple[str, str], ...] = ()

    def all_headers(self) -> dict[str, str]:
        return {**dict(self.headers), **({"authorization": f"Bearer {self.key}"} if self.key else {})}

    def __repr__(self) -> str:
        return f"Target({self.url!r})"


@dataclass(frozen=True, slots=True)
class Options:
    """`connections` bounds what the generator opens; `timeout_s` is a client's patience, from when it sent."""

    arrivals: Arrivals = "poisson"
    seed: int = 0
    connections: int = 512
    timeout_s: float = 60.0
    warmup_s: float = 1.0


Tell = Callable[[str], None]


@dataclass(slots=True)
class Session:
    """Tests one target with one supply of orders. `tell` gets a line now and then. Use with `asyncio.run` on uvloop: see `driven`."""

    target: Target
    orders: Iterator[Order]
    options: Options
    tell: Tell = lambda _line: None

    async def warm_up(self) -> float:
        """Two clients, each sending when it was answered; returns requests/s. Raises PenstockError when not one is answered well."""
        if self.options.warmup_s <= 0:
            return 0.0
        tally, client = Tally(), self._client()
        sending = replace(self._sending(client, tally), seen=lambda _tally, _at: None)
        try:
            await closed_loop(sending, 2, self.options.warmup_s)
        finally:
            await client.close()
        if not any(tally.good):
            kinds = ", ".join(f"{kind} ({tally.messages.get(kind, '')})" for kind in tally.errors) or "no answer in time"
            raise PenstockError(
                f"{self.target.url} answered none of {len(tally)} requests: {kinds}",
                remedy="Correct the route, the model's name or the key, or look at `penstock status`; then test again.",
            )
        return sum(tally.good) / self.options.warmup_s

    async def shaped(self, shape: Shape) -> dict[str, Any]:
        """The report of an open-loop load of this shape."""
        tally = Tally()
        result = await self._driven(tally, times(shape, self.options.arrivals, self.options.seed), shape.seconds)
        load = {"kind": shape.kind, "arrivals": self.options.arrivals, "pieces": [asdict(piece) for piece in shape.pieces]}
        return {"load": load, "result": result, "pieces": by_piece(tally, shape)}

    async def replayed(self, due: list[float], facts: dict[str, Any]) -> dict[str, Any]:
        """The report of arrivals at given times (seconds from the start, ascending)."""
        tally = Tally()
        seconds = due[-1] + 1e-3
        return {"load": {"kind": "trace", **facts}, "result": await self._driven(tally, iter(due), seconds), "pieces": []}

    async def closed(self, concurrency: int, seconds: float) -> dict[str, Any]:
        """The report of a closed loop."""
        tally, client, cpu = Tally(), self._client(), time.process_time()
        try:
            await closed_loop(self._sending(client, tally), concurrency, seconds)
        finally:
            await client.close()
        result = summarise(tally, seconds, cpu_s=time.process_time() - cpu, waited=client.waited)
        return {"load": {"kind": "closed", "concurrency": concurrency}, "result": result, "pieces": []}

    async def knee(self, promise: Promise, first: float, most: float) -> dict[str, Any]:
        """Tries rates until the highest that keeps the promise is known to 5 %."""
        search, trials, limited = Search(first, most), [], ""
        while (rate := search.next()) is not None:
            for _ in range(TRIES):  # a busy moment of this machine must not be taken for the server's limit
                trial, valid = await self._trial(rate, promise)
                if valid or trial.verdict == "kept":
                    break
                self.tell(f"{rate:9.1f} req/s: again, the generator was late")
            trials.append(trial)
            self.tell(f"{rate:9.1f} req/s: {trial.verdict}, {trial.slow_share:.2%} slow ({trial.low:.2%}–{trial.high:.2%})")
            if not valid and trial.verdict != "kept":
                limited = "the generator fell behind its schedule at the rate that was tried last; the server may bear more"
                break
            search.learn(rate, trial.verdict)
        ordered = sorted(trials, key=lambda trial: trial.rate)
        if search.kept is not None and search.broken is None and not limited:
            limited = f"{most:g} req/s, the highest rate that may be tried (--max-rate)"
        points = [(trial.rate, trial.figures["p95_ms"]) for trial in ordered if not math.isnan(trial.figures.get("p95_ms", math.nan))]
        return {
            "promise": asdict(promise),
            "max_rate": search.kept,
            "broken_at": search.broken,
            "turns_up_at": turning_point(points),
            "limited_by": limited,
            "trials": [asdict(trial) for trial in ordered],
        }

    async def overload(self, capacity: float, seconds: float, times_over: float = 2.0) -> dict[str, Any]:
        """Half of `capacity`, then `times_over` of it, then half again: does latency come back, and when."""
        base, peak = capacity / 2, capacity * times_over
        parts = (0.25 * seconds, 0.25 * seconds, 0.5 * seconds)
        shape = Shape("overload", (Piece(parts[0], base, base), Piece(parts[1], peak, peak), Piece(parts[2], base, base)))
        self.tell(f"{peak:.1f} req/s for {parts[1]:.0f} s between {base:.1f} req/s")
        tally = Tally()
        result = await self._driven(tally, times(shape, self.options.arrivals, self.options.seed), shape.seconds)
        found = recovery(tally, (parts[0], parts[0] + parts[1]), shape.seconds)
        return {"base_rate": base, "peak_rate": peak, **asdict(found), "pieces": by_piece(tally, shape), "result": result}

    async def _trial(self, rate: float, promise: Promise) -> tuple[Trial, bool]:
        wanted = max(2 * promise.least, 100)
        for again in (1.0, 4.0):  # what stays open gets one longer trial
            seconds = SETTLE_S + min(MOST_TRIAL_S, max(LEAST_TRIAL_S, wanted * again / rate))
            tally = Tally()
            hopeless = max(64.0, HOPELESS * rate * promise.limit_s)
            report = await self._driven(
                tally, times(constant(rate, seconds), self.options.arrivals, self.options.seed), seconds, SETTLE_S, hopeless
            )
            ended = bool(tally.errors["abandoned"])
            slow = _slow(tally, promise, 0.0 if ended else SETTLE_S)
            verdict, share, low, high = judge(slow, promise)
            if ended:
                verdict = "broken"  # so many in flight are no matter of the generator's milliseconds
            if verdict != "open":
                break
        figures = {name: float(value) for name, value in report["latency"].items() if name.endswith("_ms")}
        figures |= {f"first_token_{name}": float(v) for name, v in report.get("first_token", {}).items() if name.endswith("_ms")}
        figures |= {"error_rate": report["error_rate"], "throughput_rps": report["throughput_rps"]}
        return Trial(rate, verdict, share, low, high, len(slow), figures), ended or bool(report["generator"]["valid"])

    async def _driven(
        self, tally: Tally, due: Iterator[float], seconds: float, start: float = 0.0, hopeless: float = math.inf
    ) -> dict[str, Any]:
        client, cpu = self._client(), time.process_time()
        gc.collect()
        gc.freeze()  # what lives already is not looked through again while times are taken
        try:
            driven = await open_loop(self._sending(client, tally, hopeless), due, seconds)
        finally:
            gc.unfreeze()
            await client.close()
        return summarise(tally, driven, start=min(start, driven / 2), cpu_s=time.process_time() - cpu, waited=client.waited)

    def _client(self) -> Client:
        return Client(Address.of(self.target.url), connections=self.options.connections, timeout_s=self.options.timeout_s)

    def _sending(self, client: Client, tally: Tally, hopeless: float = math.inf) -> Sending:
        headers = self.target.all_headers()

        def make(order: Order) -> bytes:
            return client.address.request(order.path, order.body, headers)

        def seen(found: Tally, at: float) -> None:
            self.tell(f"{at:6.1f} s: {len(found):,} answered, {client.in_flight:,} in flight, {sum(found.errors.values()):,} failed")

        return Sending(client, make, self.orders, tally, seen, hopeless)


def _slow(tally: Tally, promise: Promise, start: float) -> list[bool]:
    times_ = tally.ended if promise.of == "latency" else tally.first
    # `not <=`, so that a first token that never came (nan) is slow.
    return [not (tally.good[row] and times_[row] - tally.due[row] <= promise.limit_s) for row in tally.slice(start, math.inf)]


def driven(work: Any) -> Any:
    """Runs a coroutine on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)
