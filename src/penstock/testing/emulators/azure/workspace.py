"""One workspace: what is in it, what it may have, and what runs its containers."""

from __future__ import annotations

import datetime
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

from penstock.platforms.remote.driver import Order
from penstock.platforms.remote.machines import Machine
from penstock.testing.containers import Processes
from penstock.testing.emulators.azure.errors import ArmError
from penstock.testing.emulators.azure.identity import Identity
from penstock.testing.emulators.azure.schemas import Schemas
from penstock.testing.emulators.faults import Faults

SUBSCRIPTION, GROUP, NAME, REGION = "00000000-1111-2222-3333-444444444444", "models", "penstock", "westeurope"
GROUP_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
ID = f"{GROUP_ID}/providers/Microsoft.MachineLearningServices/workspaces/{NAME}"
IMAGE = "penstock.azurecr.io/penstock:1"
MOST_ENDPOINTS = 100
PAGE, LARGEST = 10, 100  # rows of a list: unless asked, and at most
_HERE = Machine("here", 1, 1 << 30)


@dataclass(slots=True)
class Operation:
    """One long-running change. `status`: InProgress, Succeeded, Failed or Canceled. `brief`: it is over once somebody looked."""

    id: str
    status: str = "InProgress"
    error: dict[str, Any] | None = None
    brief: bool = False

    def end(self, error: ArmError | None = None) -> None:
        self.status, self.error = ("Succeeded", None) if error is None else ("Failed", error.body()["error"])

    def body(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"id": self.id, "name": self.id, "status": self.status}
        return {**shown, "error": self.error} if self.error else shown


@dataclass(slots=True)
class Workspace:
    """`quotas`: machines at once by type; what is not named has room. `dry`: machine types of which none is free now. `start_s`: for which
    a job or an instance is being prepared. `most_endpoints`: of a subscription in a region, until Azure is asked for more.
    """

    folder: Path
    schemas: Schemas
    url: str = ""
    images: set[str] = field(default_factory=lambda: {IMAGE})
    clusters: dict[str, str] = field(default_factory=dict)  # compute by name → type of its machines
    quotas: dict[str, int] = field(default_factory=dict)
    dry: set[str] = field(default_factory=set)
    start_s: float = 0.0
    most_endpoints: int = MOST_ENDPOINTS
    faults: Faults = field(default_factory=Faults)
    identity: Identity = field(default_factory=Identity)
    lock: RLock = field(default_factory=RLock)
    clock: Callable[[], float] = time.time
    things: dict[str, dict[str, Any]] = field(default_factory=dict)  # kind → name → what it is
    operations: dict[str, Operation] = field(default_factory=dict)
    secret: str = field(default_factory=lambda: secrets.token_hex(8))  # signs addresses of logs
    processes: Processes = field(init=False)

    def __post_init__(self) -> None:
        self.processes = Processes(self.folder / "containers", platform="azureml", grace_s=5.0)

    def of(self, kind: str) -> dict[str, Any]:
        return self.things.setdefault(kind, {})

    def operation(self) -> Operation:
        made = Operation(secrets.token_hex(16))
        self.operations[made.id] = made
        return made

    def image_of(self, environment: str) -> dict[str, Any]:
        """Properties of the environment of that resource id. Raises ArmError."""
        found: dict[str, Any] | None = self.of("environments").get(environment.lower())
        if found is None:
            raise ArmError(400, "UserError", f"Unknown environment {environment}")
        properties: dict[str, Any] = found["properties"]
        return properties

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """A container of the image that is Penstock's."""
        self.processes.create(Order(name, command, dict(environment), _HERE))


def stamp(seconds: float | None) -> str | None:
    """As the service writes times; None for none."""
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()


def shown(id_: str, type_: str, properties: Mapping[str, Any], created: float, **more: Any) -> dict[str, Any]:
    """A resource as a GET answers it."""
    return {
        "id": id_,
        "name": id_.rpartition("/")[2],
        "type": f"Microsoft.MachineLearningServices/workspaces/{type_}",
        "properties": dict(properties),
        "systemData": {"createdAt": stamp(created), "createdBy": "penstock", "createdByType": "ManagedIdentity"},
        **more,
    }
