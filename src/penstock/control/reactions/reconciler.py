"""One pass over a reaction: its actions in turn, each called until it is over; a person first where the guard says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.control.contract import Again, Done, Outcome
from penstock.control.reactions.contract import Action, Scene, Turn
from penstock.control.reactions.guard import ENDED
from penstock.control.reactions.rows import KIND
from penstock.control.reactions.table import ACTIONS
from penstock.control.world import World
from penstock.core.errors import Conflict, DatabaseUnavailable, PenstockError
from penstock.spec.react import With
from penstock.store.resources import Resource


class ReactionReconciler:
    kind = KIND

    def reconcile(self, resource: Resource, world: World) -> Outcome:
        """Phases: pending → acting or asking → done, failed, refused (its gates or a rollout said no), declined, rehearsed (dry run)."""
        if resource.phase in ENDED:
            return Done()
        status = dict(resource.status)
        status.setdefault("steps", [{"action": name, "phase": "pending", "says": ""} for name in _actions(resource)])
        deployment = world.store.resources.find("deployment", resource.spec["deployment"])
        if deployment is None or deployment.phase == "deleted" or deployment.spec.get("delete"):
            return _end(resource, status, "failed", "the deployment was deleted", world)
        if resource.spec["dry_run"]:
            return _end(resource, status, "rehearsed", f"it would have done: {', '.join(resource.spec['actions'])}", world)
        at = next((n for n, step in enumerate(status["steps"]) if step["phase"] not in ENDED), None)
        if at is None:
            return _end(resource, status, "done", str(status.get("says", "")), world)
        step = dict(status["steps"][at])
        turn = _turn(resource, step, deployment, world)
        told = turn.phase if turn.phase != step["phase"] or turn.says != step["says"] else None
        step.update(phase=turn.phase, says=turn.says, state=dict(turn.state), effect=dict(turn.effect))
        status["steps"] = [*status["steps"][:at], step, *status["steps"][at + 1 :]]
        status["says"] = turn.says
        status["cost_usd"] = sum(float(s.get("cost_usd", 0.0)) for n, s in enumerate(status["steps"]) if n != at) + turn.cost_usd
        step["cost_usd"] = turn.cost_usd
        if turn.phase in ("failed", "refused", "declined"):
            return _end(resource, status, turn.phase, turn.says, world, step)
        last = at == len(status["steps"]) - 1
        if turn.phase == "done" and last:
            return _end(resource, status, "done", turn.says, world, step)
        pause = 0.0 if turn.phase == "done" else turn.after_s
        with world.store.database.begin():
            if told is not None:
                _tell(world, resource, deployment, f"reaction.{step['action']}", turn.says, turn.effect)
            phase = "asking" if turn.phase == "waiting" else "acting"
            world.store.resources.save(KIND, resource.id, world.owner, status=status, phase=phase, due_at=world.clock.now() + pause)
        return Again(pause)


def _actions(resource: Resource) -> list[str]:
    """Where trying came to nothing before, a person is asked first."""
    return [*(["ask"] if resource.spec.get("ask_first") and "ask" not in resource.spec["actions"] else []), *resource.spec["actions"]]


def _turn(resource: Resource, step: Mapping[str, Any], deployment: Resource, world: World) -> Turn:
    action: Action = ACTIONS.load(step["action"])()
    scene = Scene(world, resource, deployment, With.model_validate(resource.spec["with"]), step.get("state", {}))
    try:
        return action.act(scene)
    except (Conflict, DatabaseUnavailable):
        raise
    except PenstockError as error:
        return Turn("failed", str(error), scene.state, {"error": error.as_json()})


def _end(resource: Resource, status: dict[str, Any], phase: str, says: str, world: World, step: Mapping[str, Any] | None = None) -> Outcome:
    status.update(says=says, ended_at=world.clock.now())
    deployment = world.store.resources.find("deployment", resource.spec["deployment"])
    with world.store.database.begin():
        effect = {} if step is None else {"action": step["action"], **step.get("effect", {})}
        _tell(world, resource, deployment, f"reaction.{phase}", says, effect)
        world.store.audit.append(f"reaction {resource.id}", f"reaction.{phase}", resource.spec["deployment"], {"says": says})
        world.store.resources.save(KIND, resource.id, world.owner, status=status, phase=phase, due_at=None)
    return Done()


def _tell(world: World, resource: Resource, deployment: Resource | None, kind: str, says: str, effect: Mapping[str, Any]) -> None:
    world.store.events.add(KIND, resource.id, kind, says, dict(effect))
    if deployment is not None:
        data = {"reaction": resource.id, **effect}
        world.store.events.add("deployment", deployment.id, kind, f"{resource.spec['rule']}: {says}", data)
