"""`penstock status`: what runs in the background and what it serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from penstock.cli.commands.deployments import serves
from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def status() -> None:
    """Show what runs in the background and what it serves."""
    from penstock.cli.state import has_state, opened
    from penstock.control.daemon import control_state
    from penstock.control.delivery import deployment_rows
    from penstock.control.gateway import gateway_state
    from penstock.control.watch.health import watcher_state
    from penstock.core.home import Home

    home = Home.find()
    deployments: list[dict[str, Any]] = []
    running: list[dict[str, Any]] = []
    if has_state(home):
        with opened() as store:
            deployments = deployment_rows(store, home)
            running = [{"run": r.id, "pipeline": r.name} for r in store.resources.list("run", phase="running")]
    found = {
        "home": str(home.folder),
        "control": control_state(home),
        "gateway": gateway_state(home.gateway),
        "watcher": watcher_state(home.folder),
        "deployments": deployments,
        "running": running,
    }
    here().show(found, lambda: list(_lines(found)))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    control, gateway = found["control"], found["gateway"]
    yield f"home     {found['home']}"
    yield f"control  {'pid ' + str(control['pid']) if control else 'not running (penstock up starts it)'}"
    yield f"gateway  {'http://' + gateway['host'] + ':' + str(gateway['port']) if gateway else 'not running'}"
    yield f"watcher  {_watcher(found['watcher'])}"
    for row in found["deployments"]:
        replicas = ", ".join(f"{r['id']} {r['phase']}" for r in row["replicas"]) or "no replicas"
        yield f"serves   {row['name']}: {serves(row)} {row['phase']} ({replicas})"
    for run in found["running"]:
        yield f"running  {run['pipeline']} {run['run']}"


def _watcher(state: dict[str, Any] | None) -> str:
    if state is None or not state["runs"]:
        return "not running: nothing is measured"
    if state["waits_for"]:
        return f"pid {state['pid']}, waits: {state['waits_for']}"
    unread = f", {state['unread']} lines not readable" if state["unread"] else ""
    errors = f", {state['errors']} errors, the last: {state['last_error']}" if state["errors"] else ""
    return f"pid {state['pid']}, {state['lag_s']:.1f} s behind, {state['records_per_s']:g} records/s{unread}{errors}"
