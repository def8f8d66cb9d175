"""What people and CI do with triggers. Used by the commands; each opens and closes the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from penstock.control.api import result_of
from penstock.control.daemon import ensure_up
from penstock.control.delivery import opened_world
from penstock.control.preparing import home_of, prepare
from penstock.control.runs import ENDED
from penstock.control.triggers.orders import fire, follow, trigger_row
from penstock.control.triggers.reconciler import KIND
from penstock.control.world import open_world, principal
from penstock.core.errors import BadInput, NotFound

LOOK_S = 0.2


def trigger_rows() -> list[dict[str, Any]]:
    """Of every pipeline that has some."""
    with opened_world() as world:
        return [trigger_row(row) for row in world.store.resources.list(KIND) if row.phase != "removed" and not row.spec.get("removed")]


def set_triggers(file: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """As the file declares them, without running it. Raises FileProblems, BadInput when it declares none."""
    world = open_world(home_of(file))
    try:
        row = follow(world, prepare(file, world, overrides=overrides), list(overrides), principal())
        if row is None:
            raise BadInput(f"{file} declares no triggers; those that it had are removed")
        ensure_up(world.home)
        return trigger_row(row)
    finally:
        world.close()
        world.store.close()


def remove_triggers(pipeline: str) -> None:
    """Raises NotFound."""
    with opened_world() as world:
        found = world.store.resources.find(KIND, pipeline)
        if found is None or found.phase == "removed" or found.spec.get("removed"):
            raise NotFound(f"pipeline {pipeline!r} has no triggers")
        world.store.resources.set_spec(KIND, found.id, {**found.spec, "removed": True})
        world.store.audit.append(principal(), "trigger.remove", pipeline, {})


def fire_now(file: Path, overrides: Sequence[str], ident: str | None, wait: bool) -> dict[str, Any]:
    """A run in the background, once for `ident`; with `wait` as it ended. Raises FileProblems and what stopped the background process."""
    world = open_world(home_of(file))
    try:
        run = fire(world, prepare(file, world, overrides=overrides), ident, principal())
        ensure_up(world.home)
        while wait and (run := world.store.resources.get("run", run.id)).phase not in ENDED:
            time.sleep(LOOK_S)
        return asdict(result_of(run, world)) if wait else {"run": run.id, "status": run.phase}
    finally:
        world.close()
        world.store.close()
