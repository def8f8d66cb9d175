"""Bandits: traffic moves to the version that earns more, by Thompson sampling, while every version keeps a floor to be noticed by.

Each look takes what became of requests since the cursor, forgets a little of the old, and moves the split when the shares differ by more
than a step. Evidence and cursor are saved together, so a crash counts nothing twice. A bandit whose split somebody else changed ends.
"""

from __future__ import annotations

import math
from typing import Any

from penstock.control.contract import Again, Done, Outcome
from penstock.control.deployments import phase_of
from penstock.control.outcomes import LAG_S, Span, ended, measured, rewarded, seconds_of
from penstock.control.policy import deploy_of
from penstock.control.recent import Recent
from penstock.control.split import split_of
from penstock.control.traffic import set_traffic, undo_traffic
from penstock.control.world import World
from penstock.core.errors import NotFound
from penstock.monitoring.thompson import Arm, best_probabilities, moves, shares
from penstock.store.resources import Resource

SOON_S = 0.2


class BanditReconciler:
    kind = "bandit"

    def __init__(self) -> None:
        self._recent: dict[str, Recent] = {}  # what is left to read again costs less with it; rows are right without

    def reconcile(self, resource: Resource, world: World) -> Outcome:
        """One pass. Phases: pending → starting → running → stopped, when somebody else sets the traffic."""
        if resource.phase == "stopped":
            return Done()
        status, name = dict(resource.status), resource.spec["deployment"]
        deployment = world.store.resources.find("deployment", name)
        if deployment is None or deployment.phase == "deleted" or deployment.spec.get("delete"):
            return _stop(resource, status, "the deployment was deleted", world)
        if not status.get("started"):
            try:
                even = {row["version"]: 1.0 for row in resource.spec["versions"]}
                set_traffic(world, name, even, principal=f"bandit {resource.id}", experiment=resource.id)
            except NotFound as error:
                return _stop(resource, status, str(error), world)
            status.update(started=True, since=world.clock.now())
            return _save(resource, status, "starting", SOON_S, world)
        if deployment.spec.get("experiment") != resource.id:
            self._recent.pop(resource.id, None)
            return _stop(resource, status, "the traffic was set by somebody else", world)
        if deployment.status.get("experiment") != resource.id:
            if phase_of(deployment) == "failed":
                undo_traffic(world, name, principal=f"bandit {resource.id}")
                return _stop(resource, status, f"a version does not start: {deployment.status.get('error')}", world)
            return _save(resource, status, "starting", SOON_S, world)
        return self._look(resource, status, deployment, world)

    def _look(self, resource: Resource, status: dict[str, Any], deployment: Resource, world: World) -> Outcome:
        spec = resource.spec
        if status.get("cursor") is None:
            status["cursor"] = status["began"] = world.clock.now()
            return _save(resource, status, "running", min(spec["every"], LAG_S), world)
        span = Span(status["cursor"], max(status["cursor"], world.clock.now() - LAG_S), status["began"])
        recent = self._recent.setdefault(resource.id, Recent(world.home.gateway, resource.id))
        values = _values(resource, deployment, span, recent)
        versions, known = [str(row["version"]) for row in spec["versions"]], status.get("arms") or {}
        arms = [Arm.parse(known.get(v)).forgotten(span.until - span.since, spec["half_life"]).seen(values.get(v, ())) for v in versions]
        probabilities = best_probabilities(arms, "normal" if spec["metric"] == "latency" else "beta")
        wanted = shares(probabilities, spec["explore"])
        present = {str(part.version): part.weight for part in split_of(deployment.spec)}
        if moves([present.get(v, 0.0) for v in versions], wanted):
            split = {int(v): share for v, share in zip(versions, wanted, strict=True)}
            set_traffic(world, deployment.name, split, principal=f"bandit {resource.id}", experiment=resource.id)
        seen = status.get("seen", 0) + sum(len(found) for found in values.values())
        status.update(
            arms={v: arm.as_json() for v, arm in zip(versions, arms, strict=True)},
            best={v: round(p, 4) for v, p in zip(versions, probabilities, strict=True)},
            means={v: _mean(arm, spec["metric"]) for v, arm in zip(versions, arms, strict=True)},
            seen=seen,
            cursor=span.until,
        )
        return _save(resource, status, "running", spec["every"], world)


def _values(resource: Resource, deployment: Resource, span: Span, recent: Recent) -> dict[str, list[float]]:
    """Rewards by version. For latency the negative logarithm of seconds, which the normal-gamma posterior suits."""
    metric = resource.spec["metric"]
    if metric == "reward":
        outcomes = rewarded(recent, span)
    else:
        outcomes = measured(ended(recent, span, deploy_of(deployment.spec).protect.timeout), metric)
    found: dict[str, list[float]] = {}
    for one in outcomes:
        value = -math.log(seconds_of(one.value)) if metric == "latency" else one.value
        found.setdefault(one.version, []).append(value)
    return found


def _mean(arm: Arm, metric: str) -> float | None:
    """Mean reward; of latency the geometric mean in seconds."""
    if arm.count < 1e-9:
        return None
    mean = arm.total / arm.count
    return math.exp(-mean) if metric == "latency" else mean


def _stop(resource: Resource, status: dict[str, Any], reason: str, world: World) -> Outcome:
    status.update(reason=reason, ended_at=world.clock.now())
    world.store.resources.save(resource.kind, resource.id, world.owner, status=status, phase="stopped", due_at=None)
    return Done()


def _save(resource: Resource, status: dict[str, Any], phase: str, after_s: float, world: World) -> Outcome:
    due = world.clock.now() + after_s
    world.store.resources.save(resource.kind, resource.id, world.owner, status=status, phase=phase, due_at=due)
    return Again(after_s)
