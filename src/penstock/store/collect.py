"""Garbage collection: what nothing names goes, what anything names stays.

Named by: builds that stand, model versions, the live log, resources. With `keep_days`, old builds are first given up, except the
newest of each step, those of a registered version's run, and those whose outputs something else names; no build is given up
while a run is under way. What was written within the grace time stays, since a job that runs has not recorded its outputs yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import Connection, Text, func, or_, select, type_coerce

from penstock.store import leases
from penstock.store.schema import builds, claims, live, model_versions, resources
from penstock.store.store import Store
from penstock.store.sweep import Collected

GRACE_S = 86_400.0
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Collection:
    """`given_up`: keys of builds that were let go; `waited`: why none was, when that is so."""

    given_up: tuple[str, ...]
    waited: str | None
    swept: Collected
    dry_run: bool


def collect_garbage(store: Store, keep_days: float | None = None, *, grace_s: float = GRACE_S, dry_run: bool = False) -> Collection:
    """One pass. `keep_days`: None gives up no build."""
    given_up: tuple[str, ...] = ()
    since = None if keep_days is None else store.clock.now() - keep_days * 86_400.0
    with store.database.reading() as connection:
        waited = _busy(connection, store)
        if since is not None and waited is None:
            given_up = _old_builds(connection, since)
    if not dry_run:
        for key in given_up:
            store.builds.invalidate(key, f"not used for {keep_days:g} days" if keep_days else "collected")
    with store.database.reading() as connection:
        referenced = _outputs(connection, without=set(given_up)) | _named_elsewhere(connection, since)
    swept = store.artifacts.collect(referenced, grace_s, dry_run=dry_run, busy=waited is not None)
    return Collection(given_up, waited if keep_days is not None else None, swept, dry_run)


def _busy(connection: Connection, store: Store) -> str | None:
    bound = leases.bound(store.database.dialect, store.clock, "", 0.0)
    held = connection.execute(select(claims.c.key).where(~leases.ended(claims, store.database.dialect)).limit(1), bound).scalar()
    if held is not None:
        return f"build {held} is being made"
    going = connection.execute(select(resources.c.id).where(resources.c.kind == "run", resources.c.due_at.is_not(None)).limit(1)).scalar()
    return None if going is None else f"{going} is not finished"


def _old_builds(connection: Connection, before: float) -> tuple[str, ...]:
    named = _named_elsewhere(connection, since=before)
    registered = set(connection.execute(select(model_versions.c.run)).scalars())
    newest = {
        tuple(row)
        for row in connection.execute(
            select(builds.c.pipeline, builds.c.step, func.max(builds.c.created_at))
            .where(builds.c.invalid_at.is_(None))
            .group_by(builds.c.pipeline, builds.c.step)
        )
    }
    columns = (builds.c.key, builds.c.pipeline, builds.c.step, builds.c.created_at, builds.c.run, builds.c.outputs)
    old = connection.execute(select(*columns).where(builds.c.invalid_at.is_(None), builds.c.created_at < before))
    return tuple(
        row.key
        for row in old
        if row.run not in registered and (row.pipeline, row.step, row.created_at) not in newest and named.isdisjoint(row.outputs.values())
    )


def _outputs(connection: Connection, without: set[str]) -> set[str]:
    rows = connection.execute(select(builds.c.key, builds.c.outputs).where(builds.c.invalid_at.is_(None)))
    return {digest for row in rows if row.key not in without for digest in row.outputs.values()}


def _named_elsewhere(connection: Connection, since: float | None) -> set[str]:
    """Digests anywhere in versions, the live log and resources; of resources only unfinished and recent ones when `since` is given."""
    c = resources.c
    of_resources = select(type_coerce(c.spec, Text), type_coerce(c.status, Text))
    if since is not None:
        of_resources = of_resources.where(or_(c.due_at.is_not(None), c.updated_at >= since))
    v = model_versions.c
    of_versions = select(v.bundle, type_coerce(v.facts, Text), type_coerce(v.gates, Text), type_coerce(v.metrics, Text))
    of_live = select(type_coerce(live.c.versions, Text))
    found: set[str] = set()
    for statement in (of_resources, of_versions, of_live):
        for row in connection.execute(statement):
            for text in row:
                found.update(_DIGEST.findall(text))
    return found
