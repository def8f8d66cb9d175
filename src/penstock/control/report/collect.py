"""What is told of a deployment and a time, gathered from the store and from the windows on disk."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.control.alerts.orders import alert_row
from penstock.control.policy import watching_of
from penstock.control.reactions.rows import reaction_row
from penstock.control.report.contract import Story
from penstock.control.report.plots import FIGURES, NAMES
from penstock.control.timeline.entries import entries, shares
from penstock.control.watch.board import history, watched_row
from penstock.control.world import World
from penstock.store.signals import Signal

MOST = 1000  # alerts, reactions


def story(world: World, name: str, since: float, until: float) -> Story:
    """Raises NotFound."""
    row = watched_row(world.store, name)
    alerts = [alert_row(one) for one in world.store.resources.list("alert", name=name, limit=MOST)]
    reactions = [reaction_row(one) for one in world.store.resources.list("reaction", name=name, limit=MOST)]
    return Story(
        name,
        since,
        until,
        watching_of(row.spec).monitor.window,
        sorted(_signals(world, name, since, until), key=lambda signal: signal.at),
        entries(world, name, since, until),
        shares(world, name),
        [one for one in alerts if _during(one["since"] or one["fired_at"] or 0.0, one["resolved_at"], since, until)],
        [one for one in reactions if _during(one["created_at"], one["ended_at"], since, until)],
    )


def _signals(world: World, name: str, since: float, until: float) -> Iterator[Signal]:
    yield from (s for s in history(world.store, world.home, name, (*NAMES, *FIGURES), since, until) if not s.slice)
    limited = world.store.signals.read(name, since=since, until=until, limited=True)
    yield from (s for s in limited if not s.slice and s.name not in NAMES)


def _during(began: float, ended: float | None, since: float, until: float) -> bool:
    return began < until and (ended is None or ended >= since)
