"""Evictions, and the budgets that may forbid them."""

from __future__ import annotations

import math
from typing import Any

from penstock.testing.emulators.kubernetes.objects import Object
from penstock.testing.emulators.kubernetes.refusals import Refusal
from penstock.testing.emulators.kubernetes.selecting import matches
from penstock.testing.emulators.kubernetes.world import World, active, ready, with_condition


def evict(pod: Object, world: World) -> None:
    """Raises Refusal (429) where a budget has no room."""
    meta = pod["metadata"]
    for budget in world.all("PodDisruptionBudget"):
        spec = budget["spec"]
        if budget["metadata"]["namespace"] != meta["namespace"] or not matches(meta.get("labels") or {}, spec["selector"]):
            continue
        pods = [p for p in active(world.all("Pod")) if matches(p["metadata"].get("labels") or {}, spec["selector"])]
        healthy = len([p for p in pods if ready(p)])
        if healthy - ready(pod) < _least(spec, len(pods)):
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            raise Refusal(429, "TooManyRequests", message, {"causes": [{"reason": "DisruptionBudget"}]})
    told = with_condition(pod, "DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting")
    world.delete(world.status(pod, conditions=told))


def _least(spec: dict[str, Any], total: int) -> int:
    if spec.get("minAvailable") is not None:
        return _number(spec["minAvailable"], total)
    return total - _number(spec["maxUnavailable"], total)


def _number(value: int | str, total: int) -> int:
    return math.ceil(int(value.rstrip("%")) * total / 100) if isinstance(value, str) else value
