"""The dead man's switch: a URL is asked while signals come, and whoever watches that URL misses it when they do not."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.control.alerts.courier import Courier
from penstock.control.alerts.notify.delivery import beat
from penstock.control.alerts.state import State
from penstock.control.alerts.telling import Errand
from penstock.control.world import World
from penstock.spec.react import Heartbeat
from penstock.store.resources import Resource


@dataclass(frozen=True, slots=True)
class Heart:
    world: World
    monitor: Resource
    state: State
    courier: Courier

    def beats(self, heartbeat: Heartbeat, *, healthy: bool) -> tuple[list[Errand], float]:
        """The errand that is due, and when the next one is. A failure is told once, until one arrives again."""
        name, now = f"{self.monitor.id}/heartbeat", self.world.clock.now()
        outcome = self.courier.take(name)
        if outcome is not None:
            if outcome.error is not None and self.state.beat_error is None:
                self.world.store.events.add("monitor", self.monitor.id, "heartbeat.failed", outcome.error, {"error": outcome.error})
            self.state.beat_error = outcome.error
        due = now if self.state.beat_at is None else min(self.state.beat_at, now) + heartbeat.every
        if now < due or not healthy or self.courier.busy(name):
            return [], max(due, now)
        self.state.beat_at = now
        return [Errand(name, lambda: beat(heartbeat.url))], now + heartbeat.every
