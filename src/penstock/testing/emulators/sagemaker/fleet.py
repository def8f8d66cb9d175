"""The instances of an endpoint's variant: each a process that is asked for its health (`GET /ping`) until it is fit to serve."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators import instances
from penstock.testing.emulators.sagemaker.account import Account, Log
from penstock.testing.emulators.sagemaker.models import MODEL
from penstock.testing.ports import free_port

_numbers = itertools.count(1)


@dataclass(slots=True, kw_only=True)
class Instance(instances.Instance):
    log: Log


@dataclass(slots=True)
class Variant:
    """`wanted` instances; a serverless one has a single process, whatever its concurrency."""

    settings: Mapping[str, Any]
    weight: float
    wanted: int
    instances: list[Instance] = field(default_factory=list)
    lost: str = ""  # why the last instance ended by itself
    turn: int = 0

    @property
    def name(self) -> str:
        return str(self.settings["VariantName"])

    @property
    def ready(self) -> list[Instance]:
        return [instance for instance in self.instances if instance.ready]

    @property
    def settled(self) -> bool:
        return len(self.instances) == self.wanted == len(self.ready)

    def same_as(self, other: Variant) -> bool:
        """Its instances can serve for the other: the same model on the same machines."""
        keys = ("ModelName", "InstanceType", "ServerlessConfig")
        return [self.settings.get(key) for key in keys] == [other.settings.get(key) for key in keys]


def variant_of(settings: Mapping[str, Any]) -> Variant:
    return Variant(settings, float(settings.get("InitialVariantWeight", 1.0)), int(settings.get("InitialInstanceCount", 1)))


def tend(account: Account, endpoint: str, variant: Variant, *, replace: bool) -> None:
    """Starts what is missing, stops what is too much, notices who is ready and who died; `replace` those."""
    for instance in variant.instances:
        instance.log.ship(account)
    lost = instances.looked(account.processes, variant.instances, "/ping")
    variant.lost = lost[1] if lost is not None else variant.lost
    for instance in instances.cut_to(variant.instances, variant.wanted):
        stop(account, instance)
    if variant.lost and not replace:
        return
    while len(variant.instances) < variant.wanted:
        variant.instances.append(_start(account, endpoint, variant))


def stop(account: Account, instance: Instance) -> None:
    instance.log.ship(account)
    account.processes.stop(instance.container)


def _start(account: Account, endpoint: str, variant: Variant) -> Instance:
    model = account.of(MODEL).get(variant.settings["ModelName"])
    given = model.request["PrimaryContainer"].get("Environment", {}) if model is not None else {"PENSTOCK_SERVING": "the model is gone"}
    port, container = free_port(), f"{endpoint}.{variant.name}.{next(_numbers)}"
    account.run(container, ("penstock", "serve"), {**given, "SAGEMAKER_BIND_TO_PORT": str(port)})
    log = Log(container, f"/aws/sagemaker/Endpoints/{endpoint}", f"{variant.name}/i-{container.rpartition('.')[2]:0>17}")
    return Instance(container, port, log=log)
