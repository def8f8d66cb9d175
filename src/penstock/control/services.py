"""Which vendor's service answers a batch, on what, and the step by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.control.elsewhere import Elsewhere
from penstock.control.world import World
from penstock.platforms.batches import Batches
from penstock.platforms.contract import JobSpec, JobState
from penstock.platforms.execute import execute
from penstock.platforms.handed import Caller
from penstock.platforms.quotes import Quote
from penstock.platforms.remote.machines import Machine


@dataclass(frozen=True, slots=True)
class Service:
    batches: Batches
    machine: Machine
    instances: int

    def quote(self) -> Quote:
        return self.batches.quote(self.machine, self.instances)


def service_on(world: World, place: tuple[str, Mapping[str, Any]], machine: str | None, instances: int) -> Service:
    """`place`: a platform's name and section. Raises PlatformLacks where there is none, or none on such machines."""
    batches = world.batches(*place)
    return Service(batches, batches.machine(machine, instances), instances)


def by_service(service: Service, world: World, job: JobSpec, seen: Callable[[Mapping[str, Any]], None]) -> JobState:
    """The step of a batch, on this machine, with a stage that asks the vendor."""
    stage = Elsewhere(service.batches, world.store.artifacts, job.key, service.machine.name, service.instances)

    def emit(event: Mapping[str, Any]) -> None:
        if "progress" in event:
            seen(event["progress"])

    return JobState("succeeded", execute(job, world.store.artifacts, world.home, Caller(emit, lambda: False), stage=stage))
