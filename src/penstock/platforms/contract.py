"""Jobs run one step somewhere; Endpoints keep replicas of model versions alive behind a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Phase = Literal["pending", "running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One step, ready to run. JSON-able; stored in the artifact store at `jobs/<key hex>.json`; `key` makes submit idempotent.

    `inputs`: name → artifact digest. `external`: digest → path or URL. `output kinds` are the stage's business.
    """

    key: str
    run: str
    step: str
    stage: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    external: Mapping[str, str] = field(default_factory=dict)
    code_path: Sequence[str] = ()  # folders put first on sys.path, for user steps
    environment: Sequence[str] = ()  # pinned requirements, () for Penstock's own
    timeout_s: float | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    gpus: int = 0
    attempt: int = 1
    gpu_type: str | None = None  # of platforms/remote/machines.py ACCELERATORS; None: any
    nodes: int = 1  # that run it together
    spot: bool = False  # on machines that may be taken away
    machine: str | None = None  # the platform's own name of a machine type
    processes: int = 1  # on each node, that run it together


@dataclass(frozen=True, slots=True)
class JobResult:
    """The completion marker, at `jobs/<key hex>.result.json`: outputs by name → artifact digest, and the metrics."""

    key: str
    outputs: Mapping[str, str]
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class JobHandle:
    """What finds the job again after a restart of the control process."""

    platform: str
    key: str
    reference: str


@dataclass(frozen=True, slots=True)
class JobState:
    phase: Phase
    result: JobResult | None = None
    error: Mapping[str, Any] | None = None  # PenstockError.as_json() plus "transient": bool, "type": exception name
    started_at: float | None = None
    ended_at: float | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class LogPage:
    """Whole lines after `since`. A line that starts with `::penstock ` is JSON: {"point": …}, {"progress": …} or {"log": …}."""

    lines: Sequence[str]
    cursor: int


class Jobs(Protocol):
    def submit(self, job: JobSpec) -> JobHandle:
        """Idempotent by `job.key` and `job.attempt`."""
        ...

    def observe(self, handle: JobHandle) -> JobState: ...

    def logs(self, handle: JobHandle, since: int = 0) -> LogPage: ...

    def cancel(self, handle: JobHandle) -> None:
        """Asks politely (SIGTERM), then kills. Idempotent; a finished job stays finished."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Returns when a job may have changed its state, at the latest after `timeout_s`."""
        ...

    def warm(self, stages: Iterable[str] = ()) -> None:
        """A hint that these stages come soon: what can be prepared ahead is, while nobody waits."""
        ...

    def close(self) -> None:
        """Lets go of idle workers."""
        ...


@dataclass(frozen=True, slots=True)
class VersionSpec:
    """`weight`: its share of requests, for what splits them beside our gateway (a managed endpoint called directly); None: by replicas.

    `adapters`: name → artifact digest; replicas take and leave them without a restart, and answer from the base meanwhile.
    """

    version: str
    bundle: str  # artifact digest
    replicas: int
    adapters: Mapping[str, str] = field(default_factory=dict)
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """Replicas wanted behind `name`. Versions that are not listed are drained and removed."""

    name: str
    versions: Sequence[VersionSpec]
    settings: Mapping[str, Any] = field(default_factory=dict)  # threads, max_batch, …


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """`id`: nobody else's, once there is an address. `adapters`: name → digest of those loaded. `adapter_errors`: name → why not."""

    id: str
    version: str
    bundle: str
    phase: Literal["starting", "ready", "draining", "failed"]
    address: str | None = None  # host:port
    error: str | None = None
    started_at: float | None = None
    memory_bytes: int | None = None
    cold_start_s: float | None = None  # from its start until it was ready
    adapters: Mapping[str, str] = field(default_factory=dict)
    adapter_errors: Mapping[str, str] = field(default_factory=dict)


READY_S = 120.0


@dataclass(frozen=True, slots=True)
class EndpointState:
    """`counted`: the platform counts replicas itself, so there may be more than were asked for, and all of them are used.

    `ready_s`: for which a version may be on its way here before it counts as failed; `soon_s`: after which it is worth to look again at
    one that is.
    """

    name: str
    replicas: Sequence[ReplicaState]
    counted: bool = False
    ready_s: float = READY_S
    soon_s: float = 0.1


class Endpoints(Protocol):
    def apply(self, desired: EndpointSpec) -> None:
        """Takes the next steps towards `desired` and returns at once; replaces dead replicas. Idempotent."""
        ...

    def observe(self, name: str) -> EndpointState: ...

    def delete(self, name: str, within_s: float | None = None) -> None:
        """Returns when nothing of it is left that anybody pays for, after `within_s` (None: what the platform is given) at most.

        Idempotent. Raises PlatformAway when it is not over by then: ask again.
        """
        ...
