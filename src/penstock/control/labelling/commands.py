"""What people do with the labelling queue. Used by the commands; each opens and closes the store."""

from __future__ import annotations

import json
import math
from typing import Any

from penstock.control.delivery import opened_world
from penstock.control.deployments import get_deployment
from penstock.control.labelling.queue import DISPUTED, KIND, find, following, give, item_row, settle, skip
from penstock.control.world import World, principal
from penstock.monitoring.agreement import krippendorff, pairs_of


def items(deployment: str | None, phase: str | None, limit: int = 100) -> list[dict[str, Any]]:
    """The most wanted first."""
    with opened_world() as world:
        rows = world.store.resources.list(KIND, name=deployment, phase=phase, limit=10_000)
        return [item_row(row) for row in sorted(rows, key=lambda row: -row.spec["weight"])[:limit]]


def next_item(deployment: str, by: str | None) -> dict[str, Any] | None:
    """What this person should label now. Raises NotFound."""
    with opened_world() as world:
        get_deployment(world, deployment)
        found = following(world, deployment, by or principal())
        return None if found is None else item_row(found)


def answer(ident: str, label: str | None, by: str | None, *, decides: bool = False) -> dict[str, Any]:
    """`label` None: it cannot be labelled. `decides`: settles it whatever others said. Raises NotFound, BadInput, Conflict."""
    with opened_world() as world:
        row, person = find(world, ident), by or principal()
        if label is None:
            return item_row(skip(world, row.id, by=person))
        return item_row((settle if decides else give)(world, row.id, label, by=person))


def agreement(deployment: str) -> dict[str, Any]:
    """Of all items that two people or more labelled. Raises NotFound."""
    with opened_world() as world:
        get_deployment(world, deployment)
        rows = world.store.resources.list(KIND, name=deployment, limit=10_000)
        things = [{one["by"]: one["label"] for one in row.status["answers"] if one["label"] and not one.get("settles")} for row in rows]
        pairs = [{"people": list(people), "both": both, "kappa": _number(kappa)} for people, (both, kappa) in pairs_of(things).items()]
        disputed = sum(row.phase == DISPUTED for row in rows)
        return {"items": sum(len(one) > 1 for one in things), "alpha": _number(krippendorff(things)), "pairs": pairs, "disputed": disputed}


def known_labels(deployment: str) -> list[str]:
    """Labels that the deployment's model knows, for a hint."""
    with opened_world() as world:
        return labels_of(world, deployment)


def labels_of(world: World, deployment: str) -> list[str]:
    resource = get_deployment(world, deployment)
    found = world.store.registry.get(resource.spec["model"], resource.spec["versions"][0]["version"])
    folder = world.store.artifacts.materialize(found.bundle)
    path = folder / "labels.json"
    if not path.is_file():
        return []
    return [str(name) for name in json.loads(path.read_bytes())]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
