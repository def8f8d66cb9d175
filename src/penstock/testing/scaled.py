"""The whole system scaling for real: control process, gateway and echo replicas as processes, fed by a trace at the times it says."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.control.daemon import Address, down, ensure_up
from penstock.control.deployments import desired_deployment, phase_of
from penstock.control.gateway import acknowledged, gateway_url
from penstock.control.scaling.simulate import Arrival, Fleet, Outcome
from penstock.control.scaling.trace import Asked
from penstock.control.world import World, open_world
from penstock.core.home import Home
from penstock.serving.record_files import read_records
from penstock.serving.snapshot import read_snapshot
from penstock.store.resources import Resource
from penstock.testing.load import Client
from penstock.testing.serving import ECHO, wait_for

MODEL, STEP_S, LOOK_S, RECORDED_S = "m", 0.05, 0.1, 0.5
ROUTED_S = 0.25  # from a ready replica to a gateway that routes to it: the reconciler and the gateway look ten times a second each
WAIT_S, WAIT_SHARE, REPLICA_SHARE = 0.25, 0.4, 0.2


@dataclass(slots=True)
class Seen:
    """What one replay showed. `ready`: (seconds from the start, replicas that the gateway routes to); `waits` in seconds."""

    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    ready: list[tuple[float, int]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    late_s: float = 0.0


class ScaledSystem:
    """`deploy`: the section of the file. Use as a context manager; it is live when entered."""

    def __init__(self, folder: Path, deploy: Mapping[str, Any], *, load_s: float = 0.0) -> None:
        """`load_s`: what each replica adds to its start."""
        self.home = Home.find(folder, {})
        self.world: World = open_world(self.home)
        made = folder / "made"
        made.mkdir(parents=True)
        (made / "weights.bin").write_bytes(b"echo")
        digest = self.world.store.artifacts.commit(made, "bundle", {}).digest
        facts: dict[str, Any] = {"run": "run-1", "task": "text-generation", "metrics": {}, "gates": [], "facts": {}}
        self.world.store.registry.register(MODEL, digest, **facts)
        self.deploy = {**deploy, "to": "here", "engine": {"step_s": STEP_S, "load_s": load_s, **deploy.get("engine", {})}}

    def __enter__(self) -> ScaledSystem:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        ensure_up(self.home, Address(port=0))
        platform = {"here": {"kind": "local", "replica": {"engine_class": ECHO}}}
        _, self.secret = self.world.store.keys.create("test")
        desired_deployment(self.world, MODEL, MODEL, 1, self.deploy, platform, principal="test")
        wait_for(lambda: phase_of(self.row) == "live", 60, "a live deployment")
        wait_for(lambda: acknowledged(self.home, read_snapshot(self.home.gateway / "snapshot.json").version), 10, "the gateway's word")
        wait_for(lambda: bool(read_snapshot(self.home.gateway / "snapshot.json").keys), 10, "the key's way to the gateway")

    def __exit__(self, *_: object) -> None:
        down(self.home)
        self.world.close()
        self.world.store.close()

    @property
    def row(self) -> Resource:
        found = self.world.store.resources.find("deployment", MODEL)
        assert found is not None
        return found

    @property
    def ready(self) -> int:
        """Replicas that the gateway routes to."""
        models = read_snapshot(self.home.gateway / "snapshot.json").models
        return sum(len(version.replicas) for model in models for version in model.versions)

    @property
    def cold_start_s(self) -> float:
        return float((self.row.status.get("scaling") or {}).get("cold_start_s") or 0.0)

    def fleet(self, slots: int) -> Fleet:
        """The simulator's setting for this system: its cold start as measured, a route's way to the gateway, a second between looks."""
        return Fleet(slots=slots, cold_start_s=self.cold_start_s + ROUTED_S, look_s=1.0)

    def ask(self, work_s: float) -> tuple[int, str, bytes]:
        return asyncio.run(self._ask(work_s))

    def replay(self, arrivals: Sequence[Arrival], after_s: float = 0.0) -> Seen:
        """Each request goes out when it is due, whether or not earlier ones were answered; watches `after_s` longer."""
        return asyncio.run(self._replay(arrivals, after_s))

    async def _ask(self, work_s: float) -> tuple[int, str, bytes]:
        body = json.dumps({"model": MODEL, "prompt": "one two", "max_tokens": max(1, round(work_s / STEP_S))}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.secret}\r\ncontent-type: application/json\r\n"
        url = gateway_url(self.home)
        assert url is not None
        client = Client(url, f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        try:
            return await client.ask()
        finally:
            client.forget()

    async def _replay(self, arrivals: Sequence[Arrival], after_s: float) -> Seen:
        seen, began, wall = Seen(), time.monotonic(), time.time()
        watching = asyncio.create_task(self._watch(seen, began))
        flying = []
        for one in arrivals:
            pause = one.at - arrivals[0].at - (time.monotonic() - began)
            if pause > 0:
                await asyncio.sleep(pause)
            seen.late_s = max(seen.late_s, -pause)
            flying.append(asyncio.create_task(self._one(one, seen)))
        await asyncio.gather(*flying)
        await asyncio.sleep(after_s)
        watching.cancel()
        await asyncio.sleep(RECORDED_S)
        records = [r for r in read_records(self.home.gateway / "records", wall - 0.1) if r["status"] == 200]
        seen.waits = [record["queue_ms"] / 1000 for record in sorted(records, key=lambda record: record["ts"])]
        return seen

    async def _one(self, one: Arrival, seen: Seen) -> None:
        try:
            status, _, body = await self._ask(one.work_s)
        except (OSError, EOFError) as error:
            seen.statuses["lost"] += 1
            seen.failures.append(f"{type(error).__name__}: {error}")
            return
        seen.statuses[str(status)] += 1
        if status != 200:
            seen.failures.append(body[-300:].decode("utf-8", "replace"))

    async def _watch(self, seen: Seen, began: float) -> None:
        while True:
            seen.ready.append((time.monotonic() - began, self.ready))
            await asyncio.sleep(LOOK_S)


def slice_of(asked: Sequence[Asked], span: tuple[float, float], seconds: float, rate: float, work_s: float) -> list[Arrival]:
    """A part of a trace (`span`: shares of its requests) squeezed into `seconds`, thinned evenly to `rate` requests/s, whose work is
    in proportion to the tokens written, `work_s` on average. Work is a whole number of the echo engine's steps."""
    part = asked[int(span[0] * len(asked)) : int(span[1] * len(asked))]
    kept = part[:: max(1, round(len(part) / (seconds * rate)))]
    length, mean = max(kept[-1].at - kept[0].at, 1e-9), sum(one.completion for one in kept) / len(kept)
    made = []
    for one in kept:
        steps = max(1, round(one.completion / mean * work_s / STEP_S))
        made.append(Arrival(kept[0].at + (one.at - kept[0].at) / length * seconds, steps * STEP_S))
    return made


@dataclass(frozen=True, slots=True)
class Agreement:
    """Live beside simulated: waits in seconds, replica-seconds while requests came.

    Waits may differ by WAIT_S and WAIT_SHARE of the larger, replica-seconds by REPLICA_SHARE.
    """

    wait_p50_s: tuple[float, float]
    wait_p95_s: tuple[float, float]
    replica_s: tuple[float, float]

    @property
    def holds(self) -> bool:
        waits = all(abs(a - b) <= WAIT_S + WAIT_SHARE * max(a, b) for a, b in (self.wait_p50_s, self.wait_p95_s))
        live, simulated = self.replica_s
        return waits and abs(live - simulated) <= REPLICA_SHARE * max(live, simulated)


def agreement(seen: Seen, out: Outcome, arrivals: Sequence[Arrival]) -> Agreement:
    start, length = arrivals[0].at, arrivals[-1].at - arrivals[0].at
    live = Outcome(waits=seen.waits)
    simulated = [(moment.at - start, moment.ready) for moment in out.moments]
    pairs = [(live.wait(share), out.wait(share)) for share in (0.5, 0.95)]
    return Agreement(pairs[0], pairs[1], (_area(seen.ready, length), _area(simulated, length)))


def _area(steps: Sequence[tuple[float, int]], until: float) -> float:
    """Replica-seconds of a number that holds from each moment to the next."""
    ends = [*(at for at, _ in steps[1:]), until]
    return sum(number * max(0.0, min(end, until) - at) for (at, number), end in zip(steps, ends, strict=True) if at < until)
