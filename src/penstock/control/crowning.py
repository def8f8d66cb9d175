"""The champion's name passes on: to a challenger that took over, and back from one that was rolled back."""

from __future__ import annotations

from penstock.control.world import World


def crown(world: World, model: str, before: int, now: int, principal: str) -> bool:
    """Version `now` takes the champion's name from `before`, unless somebody gave it away meanwhile; and is no challenger any more.

    Audited. False when nothing changed.
    """
    registry, aliases = world.store.registry, world.store.registry.aliases(model)
    if aliases.get("challenger") == now:
        registry.set_alias(model, "challenger", None, principal)
    if aliases.get("champion") != before or before == now:
        return False
    registry.set_alias(model, "champion", now, principal)
    world.store.audit.append(principal, "model.promote", f"{model}:{now}", {"alias": "champion", "before": before})
    return True
