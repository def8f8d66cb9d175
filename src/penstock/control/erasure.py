"""Subjects whose data is not to be used any more: a request, a session, a speaker or a key, by what records call them.

What is marked here is left out of everything that is learnt from then on. Not covered yet: taking it out of records, datasets and models.
"""

from __future__ import annotations

from penstock.control.world import World
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import Conflict
from penstock.store.resources import Resource
from penstock.store.store import Store

KIND = "erasure"


def mark(world: World, subject: str, *, principal: str, reason: str | None = None) -> Resource:
    """Audited. The same subject again is the same row."""
    ident = f"{KIND}-{hex_of(digest_json(subject))[:20]}"
    try:
        made = world.store.resources.create(KIND, subject[:63], {"subject": subject, "reason": reason}, id=ident, due_at=None)
    except Conflict:
        return world.store.resources.get(KIND, ident)
    world.store.audit.append(principal, "erasure.mark", subject, {"reason": reason})
    return made


def marked(store: Store) -> set[str]:
    """Every subject."""
    return {row.spec["subject"] for row in store.resources.list(KIND, limit=1_000_000)}
