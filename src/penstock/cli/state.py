"""Where commands find state: the store of the working directory or of PENSTOCK_HOME, and the rows that people name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.control.world import principal as principal
from penstock.core.errors import NotFound
from penstock.core.home import Home

if TYPE_CHECKING:
    from penstock.store.resources import Resource
    from penstock.store.store import Store


def has_state(home: Home) -> bool:
    """False when nothing has run here: reading commands then make no folders."""
    file = home.database_url.removeprefix("sqlite:///")
    return file == home.database_url or Path(file).exists()


@contextlib.contextmanager
def opened(*, create: bool = False) -> Iterator[Store]:
    """The store, closed at the end. Raises NotFound where there is none, unless `create`."""
    home = Home.find()
    if not create and not has_state(home):
        raise NotFound(
            f"nothing has run here: there is no database at {home.database_url.removeprefix('sqlite:///')}",
            remedy="Go to the pipeline's folder, or set PENSTOCK_HOME.",
        )
    from penstock.store.store import Store

    store = Store.open(home)
    try:
        yield store
    finally:
        store.close()


def find_run(store: Store, text: str) -> Resource:
    """By id, by the beginning of an id, by pipeline name (its newest), or `latest`. Raises NotFound."""
    runs = store.resources.list("run", limit=1000)
    if not runs:
        raise NotFound("there are no runs yet", remedy="Start one with `penstock run`.")
    if text == "latest" and runs:
        return runs[0]
    for match in (
        [r for r in runs if r.id == text],
        [r for r in runs if r.id.removeprefix("run-").startswith(text.removeprefix("run-"))],
        [r for r in runs if r.name == text][:1],
    ):
        if len(match) == 1:
            return match[0]
        if match:
            raise NotFound(f"{text!r} begins {len(match)} run ids, such as {match[0].id} and {match[1].id}", remedy="Write more of the id.")
    raise NotFound(f"no run is called {text!r}", remedy="List them with `penstock runs`.")


def steps_of(run: Resource) -> dict[str, Mapping[str, Any]]:
    """The steps of a run's status, in the order of its graph (a database keeps no order of keys)."""
    found: dict[str, Mapping[str, Any]] = run.status.get("steps", {})
    order = [node["name"] for node in run.spec.get("graph", ())]
    return {name: found[name] for name in (*order, *found) if name in found}
