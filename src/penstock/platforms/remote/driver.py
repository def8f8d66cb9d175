"""What a vendor must do for jobs: start a container by a name, look at it, stop it, say what is left. Everything else is in jobs.py.

A driver retries throttling and transient errors itself (retrying.py), and turns the vendor's errors into ours with the way out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from penstock.core.errors import PenstockError, StepFailed
from penstock.platforms.remote.machines import Machine

Phase = Literal["pending", "running", "succeeded", "failed", "stopped", "interrupted"]


@dataclass(frozen=True, slots=True)
class Order:
    """One container to run, or `nodes` of them together. `name` is used once, ever; `command` is what runs in the image.

    The command itself starts `processes` on each node. `labels` are put on every resource that is made for it. `spot`: it may be taken away
    at any time, which costs less.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    machine: Machine
    nodes: int = 1
    spot: bool = False
    timeout_s: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Sight:
    """`interrupted`: the machine was taken away. `reason`: the vendor's own words, where it ended badly. Seconds since the epoch.

    `failure`: what it failed by, as far as the vendor knows: StepFailed, StepTimeout, StepMemory, or PlatformFull where no machine came.
    """

    phase: Phase
    reason: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    failure: type[PenstockError] = StepFailed


class Driver(Protocol):
    """Raises what core/errors.py names: PlatformDenied (permission, credentials), PlatformFull (quota, capacity), PlatformAway."""

    platform: str

    def create(self, order: Order) -> None:
        """Starts it. A container of that name that is there already is this one: the answer to an earlier call was lost."""
        ...

    def look(self, name: str) -> Sight | None:
        """None: there is none of that name, or not yet."""
        ...

    def tail(self, name: str) -> Sequence[str]:
        """The last lines that the vendor kept of it, for when it died before it could say anything itself."""
        ...

    def stop(self, name: str) -> None:
        """Asks it to stop, with the vendor's grace. Idempotent; nothing there is no error."""
        ...

    def remove(self, name: str) -> None:
        """Takes away what is left of one that ended, where the vendor keeps that. Idempotent."""
        ...

    def left(self) -> Sequence[str]:
        """Names of all resources of ours that are there, by label."""
        ...
