"""Alerts in tests: a deployment that is watched, signals minute by minute, and passes of its monitor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from penstock.control.alerts.monitors import MonitorReconciler
from penstock.control.alerts.rows import follow_deployment, monitor_id
from penstock.control.contract import Again
from penstock.control.policy import kept
from penstock.control.world import LEASE_S, World
from penstock.store.events import Event
from penstock.store.resources import Resource
from penstock.store.signals import Signal
from penstock.testing.control import Bench
from penstock.testing.receivers import AtOnce


@dataclass
class Scene:
    """Deployment `m` with the given sections. Windows are a minute. `turn` is one pass, if the row is due."""

    bench: Bench
    deployment: Resource
    world: World
    courier: AtOnce = field(default_factory=AtOnce)
    reconciler: MonitorReconciler = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, crash_at: int = 0) -> None:
        """A new process: nothing in memory is left."""
        self.courier = AtOnce()
        self.reconciler = MonitorReconciler(self.courier)
        self.world = self.bench.world(crash_at=crash_at)

    @property
    def monitor(self) -> Resource:
        return self.bench.store.resources.get("monitor", monitor_id(self.deployment))

    def turn(self) -> bool:
        row = self.monitor
        if row.due_at is None or row.due_at > self.bench.clock.now():
            return False
        assert self.world.store.resources.take("monitor", row.id, self.world.owner, LEASE_S)
        outcome = self.reconciler.reconcile(row, self.world)
        due = self.bench.clock.now() + outcome.after_s if isinstance(outcome, Again) else None
        self.world.store.resources.release("monitor", row.id, self.world.owner, due)
        return True

    def settle(self) -> None:
        """Passes at this instant until none is due."""
        for _ in range(20):
            if not self.turn():
                return
        raise AssertionError("the monitor does not come to rest")

    def measure(self, *values: float, name: str = "error_rate", **more: Any) -> None:
        """A minute each: a row with that value at its end, and passes every five seconds."""
        for value in values:
            self.bench.clock.sleep(60.0)
            now = self.bench.clock.now()
            self.bench.store.signals.append(
                [Signal("m", name, now, value, **{"count": 500.0, **more}), Signal("m", "requests", now, 500.0)]
            )
            self.settle()

    def wait(self, seconds: float, step: float = 5.0, *, watched: bool = True) -> None:
        """`watched`: the watcher goes on to count requests, so signals are not missing."""
        for _ in range(int(seconds / step)):
            self.bench.clock.sleep(step)
            if watched:
                self.bench.store.signals.append([Signal("m", "requests", self.bench.clock.now(), 500.0)])
            self.settle()

    def alerts(self, phase: str | None = None) -> list[Resource]:
        return self.bench.store.resources.list("alert", name="m", phase=phase)

    def events(self, row: Resource) -> list[Event]:
        return self.bench.store.events.list(row.kind, row.id)

    def change(self, **sections: Any) -> None:
        """Other sections in the file, promoted."""
        spec = {**self.deployment.spec, "deploy": kept(sections)}
        self.deployment = self.bench.store.resources.set_spec("deployment", self.deployment.id, spec)
        follow_deployment(self.world, self.deployment)


def scene_of(bench: Bench, **sections: Any) -> Scene:
    """Deployment `m` as promoted from a file with these sections (those of `deploy`, and `monitor`, `alerts`, `notify`)."""
    spec = {"model": "m", "deploy": kept(sections)}
    deployment = bench.store.resources.create("deployment", "m", spec, phase="live", status={"url": "http://gateway:1"}, due_at=None)
    follow_deployment(bench.world(), deployment)
    return Scene(bench, deployment, bench.world())
