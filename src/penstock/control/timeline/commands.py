"""A deployment's timeline for people, as values or as a page. Used by the commands; each opens and closes the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.control.delivery import opened_world
from penstock.control.timeline.entries import entries, shares
from penstock.control.timeline.page import as_json, page
from penstock.control.world import World
from penstock.core import units
from penstock.core.errors import BadInput
from penstock.core.files import told_plainly, write_atomic


def timeline(name: str, since: str | None) -> dict[str, Any]:
    """`since`: an age such as 2h. Raises NotFound, BadInput."""
    with opened_world() as world:
        return as_json(name, entries(world, name, _since(world, since)), shares(world, name))


def write_page(name: str, since: str | None, path: Path) -> None:
    """Raises NotFound, BadInput, DiskFull, ReadOnly."""
    with opened_world() as world:
        text = page(name, entries(world, name, _since(world, since)), shares(world, name), world.clock.now())
    with told_plainly(path):
        write_atomic(path, text.encode())


def _since(world: World, age: str | None) -> float:
    if age is None:
        return 0.0
    try:
        return world.clock.now() - units.seconds(age)
    except ValueError as error:
        raise BadInput(str(error)) from error
