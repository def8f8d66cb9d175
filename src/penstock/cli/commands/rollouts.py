"""`penstock rollouts`: how new versions take over: list them, look at one, pause, go on, call off, promote by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.dates import when
from penstock.cli.output import here, table

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
Name = Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)]
OVER = frozenset({"promoted", "rolled_back", "stopped"})
LOOK_S = 0.5
MARKS = {"kept": "✓", "breach": "✗", "open": "·"}


@app.callback()
def rollouts(ctx: typer.Context) -> None:
    """List rollouts, newest first; show one; pause, resume, abort or promote it."""
    if ctx.invoked_subcommand is None:
        _list()


@app.command("list")
def list_() -> None:
    """List rollouts, newest first."""
    _list()


def _list() -> None:
    from penstock.control.rollouts.commands import rollout_rows

    rows = rollout_rows()
    heads = ("deployment", "version", "phase", "stage", "why", "since")
    cells = [(r["deployment"], _pair(r), r["phase"], _stage(r), r["reason"][:60], when(r["created_at"])) for r in rows]
    here().show({"rollouts": rows}, lambda: table(heads, cells) if rows else ["no rollouts"])


@app.command()
def show(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it is over.")] = False,
) -> int:
    """Show the newest rollout of NAME: its stages, what each condition says by now, and what happened."""
    from penstock.control.rollouts.commands import rollout_story

    found = rollout_story(name)
    if follow and not here().json:
        found = _followed(name, found)
    here().show(found, lambda: list(_story(found)) if not follow else [])
    return 5 if follow and found["rollout"]["phase"] == "rolled_back" else 0


@app.command()
def start(
    name: Name,
    version: Annotated[str, typer.Argument(help="Version of the deployment's model: a number or an alias.")] = "challenger",
    strategy: Annotated[str | None, typer.Option(help="Instead of the one declared: rolling, blue_green or canary.")] = None,
) -> None:
    """Bring VERSION to NAME by the strategy that the deployment declares."""
    from penstock.control.rollouts.commands import begin

    _told(begin(name, version, strategy))


@app.command()
def pause(name: Name) -> None:
    """Stay at the present step; a broken condition still sends the version back."""
    _ordered(name, "pause")


@app.command()
def resume(name: Name) -> None:
    """Go on with a paused rollout."""
    _ordered(name, "")


@app.command()
def abort(name: Name) -> None:
    """Send the new version back; what served before serves all requests again."""
    _ordered(name, "abort")


@app.command()
def promote(name: Name) -> None:
    """Give the new version all requests now, whatever is proven; conditions stay watched for as long as the old one is kept warm."""
    _ordered(name, "promote")


def _ordered(name: str, order: str) -> None:
    from penstock.control.rollouts.commands import give_order

    _told(give_order(name, order))


def _told(row: dict[str, Any]) -> None:
    here().show(row, lambda: list(_head(row)))


def _followed(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Prints what happens as it does."""
    from penstock.control.rollouts.commands import rollout_story

    told = 0
    while True:
        for event in found["events"][told:]:
            print(f"{when(event['at'])}  {event['message']}", flush=True)
        told = len(found["events"])
        if found["rollout"]["phase"] in OVER:
            return found
        time.sleep(LOOK_S)
        found = rollout_story(name, found["rollout"]["id"])


def _story(found: dict[str, Any]) -> Iterator[str]:
    yield from _head(found["rollout"])
    for event in found["events"]:
        yield f"  {when(event['at'])}  {event['type'].removeprefix('rollout.')}: {event['message']}"


def _head(row: dict[str, Any]) -> Iterator[str]:
    order = f" ({row['order']})" if row["order"] else ""
    yield f"{row['deployment']}: {_pair(row)} {row['phase']}{order}"
    steps = [f"[{name}]" if at == row["stage"] and row["phase"] not in OVER else name for at, name in enumerate(row["stages"])]
    yield f"  {' → '.join(steps)}" + (f", {row['requests']} requests in this step" if row["requests"] else "")
    for condition in row["conditions"] if row["phase"] not in OVER else ():
        yield f"  {MARKS[condition['verdict']]} {condition['condition']}: {condition['says']}"
    if row["reason"]:
        yield f"  {row['reason']}"


def _pair(row: dict[str, Any]) -> str:
    before = f"{row['before']} → " if row["before"] is not None else ""
    return f"{row['model']}:{before}{row['version']}"


def _stage(row: dict[str, Any]) -> str:
    return "-" if row["phase"] in OVER else row["stages"][row["stage"]]
