"""One project in one region: what is in it, what it may have, and what runs its containers."""

from __future__ import annotations

import itertools
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

from google.protobuf import timestamp_pb2

from penstock.platforms.remote.driver import Order
from penstock.platforms.remote.machines import Machine
from penstock.testing.containers import Processes
from penstock.testing.emulators.faults import Faults
from penstock.testing.emulators.vertex.errors import VertexError, invalid
from penstock.testing.emulators.vertex.identities import Identities

PROJECT, REGION = "penstock-emulated", "europe-west4"
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/images/penstock:latest"
ACCOUNT = f"penstock@{PROJECT}.iam.gserviceaccount.com"
_HERE = Machine("here", 1, 1 << 30)
_LABEL = re.compile(r"[\w-]{0,63}")
_KEY = re.compile(r"[^\W\dA-Z_][\w-]{0,62}")


@dataclass(slots=True)
class Project:
    """`quotas`: how much of a metric may be used at once ("custom_model_training_nvidia_l4_gpus"); what is not named has room.
    `dry`: machine types of which none is free now. `start_s`: for which a job or a replica is being prepared.
    """

    folder: Path
    region: str = REGION
    images: set[str] = field(default_factory=lambda: {IMAGE})
    accounts: set[str] = field(default_factory=lambda: {ACCOUNT})
    quotas: dict[str, int] = field(default_factory=dict)
    dry: set[str] = field(default_factory=set)
    start_s: float = 0.0
    dns: str = ""  # of dedicated endpoints: all have the same, without TLS
    environment: dict[str, str] = field(default_factory=dict)  # of every container
    read: Callable[[str], bytes] = lambda _uri: b""  # an object of Cloud Storage
    write: Callable[[str, bytes], object] = lambda _uri, _data: None
    faults: Faults = field(default_factory=Faults)
    identities: Identities = field(default_factory=Identities)
    lock: RLock = field(default_factory=RLock)
    clock: Callable[[], float] = time.time
    things: dict[str, dict[str, Any]] = field(default_factory=dict)  # collection → resource name → what it is
    processes: Processes = field(init=False)
    _ids: Any = field(default_factory=lambda: itertools.count(random.randrange(10**15, 10**16)))

    def __post_init__(self) -> None:
        self.processes = Processes(self.folder / "containers", platform="vertex", grace_s=5.0)

    @property
    def parent(self) -> str:
        return f"projects/{PROJECT}/locations/{self.region}"

    def of(self, collection: str) -> dict[str, Any]:
        return self.things.setdefault(collection, {})

    def new_id(self) -> str:
        return str(next(self._ids))

    def check_parent(self, parent: str) -> None:
        if parent != self.parent:
            raise invalid([("parent", f"{parent!r} is not a location of this endpoint ({self.parent}).")])

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """A container of the image that is Penstock's: its entry point is `penstock`."""
        self.processes.create(Order(name, command, {**self.environment, **environment}, _HERE))

    def check_account(self, account: str) -> None:
        if account and account not in self.accounts:
            raise VertexError(
                "PERMISSION_DENIED",
                f"You do not have permission to act as service_account: {account}. (or it may not exist).",
            )


def check_labels(labels: Mapping[str, str]) -> None:
    wrong = [("labels", f"Label key {key!r} is not valid.") for key in labels if not _KEY.fullmatch(key) or key.lower() != key]
    wrong += [("labels", f"Label value {v!r} is not valid.") for v in labels.values() if not _LABEL.fullmatch(v) or v.lower() != v]
    if len(labels) > 64:
        wrong.append(("labels", "No more than 64 labels are allowed."))
    if wrong:
        raise invalid(wrong)


def stamp(seconds: float) -> Any:
    found = timestamp_pb2.Timestamp()
    found.FromNanoseconds(int(seconds * 1e9))
    return found
