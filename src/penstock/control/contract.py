"""A reconciler reads one resource, looks at the world, takes the next small idempotent step, and says when to look again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from penstock.core.errors import PenstockError

ResourceT = TypeVar("ResourceT", contravariant=True)
WorldT = TypeVar("WorldT", contravariant=True)


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more to do until the spec changes."""


@dataclass(frozen=True, slots=True)
class Again:
    after_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    error: PenstockError


Outcome = Done | Again | Failed


class Reconciler(Protocol[ResourceT, WorldT]):
    kind: str

    def reconcile(self, resource: ResourceT, world: WorldT) -> Outcome: ...
