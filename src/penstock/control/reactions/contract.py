"""What a reaction and its actions know of each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from penstock.control.world import World
from penstock.spec.react import With
from penstock.store.resources import Resource

TurnPhase = Literal["working", "waiting", "done", "failed", "refused", "declined"]


@dataclass(frozen=True, slots=True)
class Scene:
    """Where an action acts. `state`: what it said at its last turn (JSON values), empty at the first."""

    world: World
    reaction: Resource
    deployment: Resource
    given: With
    state: Mapping[str, Any]

    @property
    def principal(self) -> str:
        """As the audit log names who acted."""
        return f"reaction {self.reaction.id}"


@dataclass(frozen=True, slots=True)
class Turn:
    """What an action came to. `waiting`: for a person. `effect`: JSON values that say what changed. `cost_usd`: so far."""

    phase: TurnPhase
    says: str
    state: Mapping[str, Any] = field(default_factory=dict)
    effect: Mapping[str, Any] = field(default_factory=dict)
    after_s: float = 1.0
    cost_usd: float = 0.0


class Action(Protocol):
    """Level-triggered and idempotent: called again until it is over, and after a crash with the state that was last saved."""

    def act(self, scene: Scene) -> Turn: ...

    def estimate_usd(self, world: World, deployment: Resource, given: With) -> float:
        """What it is expected to cost."""
        ...
