"""Causes of an alert, worked out beside the control loop from the records before and during it, one alert at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.control.alerts.courier import Courier
from penstock.control.alerts.telling import Errand
from penstock.control.world import World
from penstock.store.resources import Resource


@dataclass(frozen=True, slots=True)
class Explaining:
    world: World
    monitor: Resource
    courier: Courier

    def settle(self, rows: Iterable[Resource]) -> None: ...

    def errands(self, rows: Iterable[Resource]) -> list[Errand]:
        return []
