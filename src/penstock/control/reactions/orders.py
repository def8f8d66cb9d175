"""What people say to reactions: yes or no to a question, or that one is not to go on."""

from __future__ import annotations

from penstock.control.reactions.guard import ENDED
from penstock.control.reactions.rows import KIND
from penstock.control.world import World
from penstock.core.errors import BadInput
from penstock.store.resources import Resource


def answer_reaction(world: World, ident: str, yes: bool, *, principal: str, comment: str | None = None) -> Resource:
    """Audited. Raises NotFound, BadInput when it asks nothing, or is over."""
    found = world.store.resources.get(KIND, ident)
    if found.phase in ENDED:
        raise BadInput(f"{ident} is over ({found.phase}): {found.status.get('says', '')}")
    if found.phase != "asking":
        raise BadInput(f"{ident} asks nothing now: {found.status.get('says') or 'it has not begun'}")
    answer = {"yes": yes, "by": principal, "at": world.clock.now(), "comment": comment}
    with world.store.database.begin():
        world.store.audit.append(
            principal, "reaction.answer", found.spec["deployment"], {"reaction": ident, "yes": yes, "comment": comment}
        )
        world.store.events.add(KIND, ident, "reaction.answered", f"{principal} said {'yes' if yes else 'no'}", answer)
        return world.store.resources.set_spec(KIND, ident, {**found.spec, "answer": answer})
