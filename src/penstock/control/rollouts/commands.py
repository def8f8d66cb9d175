"""What people do with rollouts. Used by the commands; each opens and closes the store."""

from __future__ import annotations

from typing import Any, cast

from penstock.control.daemon import ensure_up
from penstock.control.delivery import opened_world
from penstock.control.deployments import get_deployment
from penstock.control.rollouts.orders import Order, order_rollout, rollout_row, start_rollout
from penstock.control.rollouts.reconciler import KIND
from penstock.control.world import principal
from penstock.core.errors import BadInput, GateRefused, NotFound
from penstock.core.ids import new_id
from penstock.spec.strategy import SHORT, Strategy


def rollout_rows(limit: int = 50) -> list[dict[str, Any]]:
    """Newest first."""
    with opened_world() as world:
        return [rollout_row(row) for row in world.store.resources.list(KIND, limit=limit)]


def rollout_story(name: str, ident: str | None = None) -> dict[str, Any]:
    """The newest rollout of a deployment, or that one, with what happened to it. Raises NotFound."""
    with opened_world() as world:
        found = world.store.resources.find(KIND, name) if ident is None else world.store.resources.get(KIND, ident)
        if found is None:
            get_deployment(world, name)
            raise NotFound(f"{name!r} never had a rollout", remedy="Declare `deploy.strategy`, or begin one: penstock rollouts start")
        events = [{"at": e.at, "type": e.type, "message": e.message, "data": e.data} for e in world.store.events.list(KIND, found.id)]
        return {"rollout": rollout_row(found), "events": events}


def begin(name: str, version: str, strategy: str | None) -> dict[str, Any]:
    """Begins a rollout and returns its row. Raises NotFound, BadInput, GateRefused."""
    if strategy is not None and strategy not in SHORT:
        raise BadInput(f"no strategy is called {strategy!r} (there are: {', '.join(SHORT)})")
    with opened_world() as world:
        deployment = get_deployment(world, name)
        found = world.store.registry.get(deployment.spec["model"], int(version) if version.isdigit() else version)
        if found.state == "refused":
            raise GateRefused(
                f"{found.model}:{found.version} was refused by its gates", remedy="penstock deploy --force serves it all the same."
            )
        ensure_up(world.home)
        chosen = Strategy.model_validate(strategy) if strategy else None
        cause = {"command": new_id("order", world.clock.now())}
        return rollout_row(start_rollout(world, deployment, found.version, principal=principal(), cause=cause, strategy=chosen))


def give_order(name: str, order: str) -> dict[str, Any]:
    """`order`: pause, abort, promote, or "" to go on. Raises NotFound, BadInput."""
    with opened_world() as world:
        get_deployment(world, name)
        ensure_up(world.home)
        return rollout_row(order_rollout(world, name, cast("Order", order), principal=principal()))
