"""The entries of a timeline: events of the deployment, its alerts, and the runs that its reactions began, in one order.

Roll-outs and reactions tell the deployment what they do, so its own events hold them. Each entry has a role, so that a reader sees at a
glance what caused what: cause (something was seen), action, evidence (a judgement), decision, effect (what clients get).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from penstock.control.deployments import get_deployment
from penstock.control.world import World
from penstock.store.events import Event
from penstock.store.resources import Resource

Role = Literal["cause", "action", "evidence", "decision", "effect", "note"]
MOST = 2000  # events of one row
_ROLES: tuple[tuple[str, Role], ...] = (
    ("alert.", "cause"),
    ("reaction.caused", "cause"),
    ("reaction.done", "effect"),
    ("reaction.failed", "decision"),
    ("reaction.refused", "decision"),
    ("reaction.", "action"),
    ("gate.", "evidence"),
    ("rollout.stage", "decision"),
    ("rollout.rollback", "decision"),
    ("rollout.undecided", "evidence"),
    ("rollout.", "effect"),
    ("experiment.verdict", "decision"),
    ("deployment.live", "effect"),
    ("deployment.adapters", "effect"),
    ("traffic.set", "action"),
    ("run.created", "action"),
    ("run.", "effect"),
)
_RUN_TELLS = ("gate.", "run.")


@dataclass(frozen=True, slots=True)
class Entry:
    """`of`: kind and id of the row that tells it. `evidence`: JSON values."""

    at: float
    role: Role
    type: str
    message: str
    of: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def entries(world: World, name: str, since: float = 0.0, until: float = float("inf")) -> list[Entry]:
    """Oldest first. Raises NotFound."""
    deployment = get_deployment(world, name)
    told = [*_told(world, "deployment", deployment.id)]
    for row in world.store.resources.list("alert", name=name, limit=1000):
        told += _told(world, "alert", row.id)
    for run in _runs(world, name):
        told += [(at, event, of) for at, event, of in _told(world, "run", run.id) if event.type.startswith(_RUN_TELLS)]
    return [entry(event, of) for at, event, of in sorted(told, key=lambda one: (one[0], one[1].seq)) if since <= at < until]


def entry(event: Event, of: str) -> Entry:
    role: Role = next((role for start, role in _ROLES if event.type.startswith(start)), "note")
    return Entry(event.at, role, event.type, event.message, of, event.data or {})


def shares(world: World, name: str) -> list[tuple[float, dict[str, float]]]:
    """(since when, share of requests by version), oldest first."""
    return [(at, {str(v): float(w) for v, _, w in live}) for at, live in world.store.registry.live_history(name)]


def _told(world: World, kind: str, ident: str) -> Iterator[tuple[float, Event, str]]:
    for event in world.store.events.latest(kind, ident, limit=MOST):
        yield event.at, event, f"{kind} {ident}"


def _runs(world: World, name: str) -> Iterator[Resource]:
    """Runs that reactions of the deployment began."""
    for reaction in world.store.resources.list("reaction", name=name, limit=1000):
        for step in reaction.status.get("steps", ()):
            if (ident := (step.get("effect") or {}).get("run")) is not None:
                yield world.store.resources.get("run", ident)
