"""What people do with reactions. Used by the commands; each opens and closes the store."""

from __future__ import annotations

from typing import Any

from penstock.control.daemon import ensure_up
from penstock.control.delivery import opened_world
from penstock.control.reactions.orders import answer_reaction
from penstock.control.reactions.rows import KIND, reaction_row
from penstock.control.world import World, principal
from penstock.core.errors import BadInput, NotFound
from penstock.store.resources import Resource


def reaction_rows(deployment: str | None, limit: int = 50) -> list[dict[str, Any]]:
    """Newest first."""
    with opened_world() as world:
        return [reaction_row(row) for row in world.store.resources.list(KIND, name=deployment, limit=limit)]


def reaction_story(ident: str) -> dict[str, Any]:
    """One reaction with what happened to it. Raises NotFound, BadInput when the beginning fits several."""
    with opened_world() as world:
        found = _find(world, ident)
        events = [{"at": e.at, "type": e.type, "message": e.message, "data": e.data} for e in world.store.events.list(KIND, found.id)]
        return {"reaction": reaction_row(found), "events": events}


def give_answer(ident: str, yes: bool, comment: str | None) -> dict[str, Any]:
    """Raises NotFound, BadInput."""
    with opened_world() as world:
        found = _find(world, ident)
        ensure_up(world.home)
        return reaction_row(answer_reaction(world, found.id, yes, principal=principal(), comment=comment))


def _find(world: World, ident: str) -> Resource:
    rows = world.store.resources.list(KIND, limit=1000)
    found = rows[:1] if ident == "latest" else [row for row in rows if row.id.startswith(ident) or row.id.startswith(f"{KIND}-{ident}")]
    if not found:
        raise NotFound(f"no reaction begins with {ident!r}" if ident != "latest" else "there was no reaction yet")
    if len(found) > 1:
        raise BadInput(f"{len(found)} reactions begin with {ident!r}; write more of the id")
    return found[0]
