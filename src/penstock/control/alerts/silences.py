"""Silences as rows of kind `silence`: who wants not to be told of what, until when, and why. Phases: active → ended."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.control.world import LEASE_S, World
from penstock.core.errors import BadInput, NotFound
from penstock.monitoring.alerting.standing import Matcher, Silence, matcher_of
from penstock.store.resources import Resource

MOST, LONGEST_S = 500, 366 * 86400.0


def silence(world: World, matchers: Sequence[Matcher], for_s: float, *, who: str, why: str) -> Silence:
    """Nothing is told of alerts that all of `matchers` take, for so long. Audited. Raises BadInput."""
    if not matchers:
        raise BadInput("a silence says what it is about: name at least one LABEL=VALUE")
    if not 0 < for_s <= LONGEST_S:
        raise BadInput("a silence lasts longer than nothing and at most a year")
    if len(silences(world)) >= MOST:
        raise BadInput(f"there are {MOST} silences already", remedy="End some: `penstock alerts unsilence`.")
    now = world.clock.now()
    spec = {"matchers": [str(matcher) for matcher in matchers], "since": now, "until": now + for_s, "who": who, "why": why}
    made = world.store.resources.create("silence", "silence", spec, phase="active", due_at=None)
    world.store.audit.append(who, "alert.silence", made.id, spec)
    return _parsed(made)


def silences(world: World) -> list[Silence]:
    """Those in force, newest first. Those that have run out are marked so on the way."""
    found = []
    for row in world.store.resources.list("silence", phase="active", limit=2 * MOST):
        one = _parsed(row)
        if one.until > world.clock.now():
            found.append(one)
        else:
            _end(world, row)
    return found


def unsilence(world: World, ident: str, *, who: str) -> Silence:
    """Ends a silence, named by its id or a beginning of it that no other has. Audited. Raises NotFound."""
    found = [
        one for one in silences(world) if one.id == ident or one.id.removeprefix("silence-").startswith(ident.removeprefix("silence-"))
    ]
    exact = [one for one in found if one.id == ident] or found
    if len(exact) != 1:
        reason = f"{ident!r} begins {len(exact)} silences" if exact else f"no silence in force is called {ident!r}"
        raise NotFound(reason, remedy="List them with `penstock alerts`.")
    _end(world, world.store.resources.get("silence", exact[0].id))
    world.store.audit.append(who, "alert.unsilence", exact[0].id, {"matchers": [str(one) for one in exact[0].matchers]})
    return exact[0]


def _parsed(row: Resource) -> Silence:
    spec = row.spec
    return Silence(row.id, tuple(matcher_of(text) for text in spec["matchers"]), spec["until"], spec["since"], spec["who"], spec["why"])


def _end(world: World, row: Resource) -> None:
    resources = world.store.resources
    if resources.take("silence", row.id, world.owner, LEASE_S):
        resources.save("silence", row.id, world.owner, status={"ended_at": world.clock.now()}, phase="ended", due_at=None)
        resources.release("silence", row.id, world.owner)
