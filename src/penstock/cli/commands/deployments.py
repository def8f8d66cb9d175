"""`penstock deployments`: list them, show one, say what was live when, delete one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.dates import when
from penstock.cli.output import here, table

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def deployments(ctx: typer.Context) -> None:
    """List deployments and what each one serves."""
    if ctx.invoked_subcommand is None:
        _list()


@app.command("list")
def list_() -> None:
    """List deployments and what each one serves."""
    _list()


def _list() -> None:
    from penstock.cli.state import has_state, opened
    from penstock.control.delivery import deployment_rows
    from penstock.core.home import Home

    home, rows = Home.find(), []
    if has_state(home):
        with opened() as store:
            rows = deployment_rows(store, home)
    heads = ("name", "serves", "phase", "replicas", "url")
    cells = [(r["name"], serves(r), r["phase"], len(r["replicas"]), r["url"] or "-") for r in rows]
    here().show({"deployments": rows}, lambda: table(heads, cells) if rows else ["no deployments"])


@app.command()
def show(name: Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)]) -> None:
    """Show a deployment: spec, replicas, what was live when, and its events."""
    from penstock.control.delivery import deployment_story

    found = deployment_story(name)
    here().show(found, lambda: list(_story(found)))


@app.command()
def timeline(
    name: Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)],
    since: Annotated[str | None, typer.Option(help="How far back, such as 2h; default: everything.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write it as one HTML page.")] = None,
) -> None:
    """Show everything that happened to a deployment and why: cause, action, evidence, decision, effect."""
    from penstock.control.timeline.commands import timeline as of
    from penstock.control.timeline.commands import write_page

    found = of(name, since)
    if page is not None:
        write_page(name, since, page)
        here().note(f"written to {page}")
    here().show(found, lambda: [f"{when(e['at'])}  {e['role']:<8}  {e['message']}" for e in found["entries"]] or ["nothing happened yet"])


@app.command()
def live(
    name: Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)],
    at: Annotated[str, typer.Option(help="ISO time, such as 2026-11-21T03:12:00; default: now.")] = "now",
) -> None:
    """Say which version was live at an instant."""
    from penstock.control.delivery import live_versions

    found = live_versions(name, at)
    lines = [f"{row['version']}  {row['weight'] * 100:.3g} %  {row['bundle']}" for row in found["live"]] or ["nothing was live"]
    here().show(found, lambda: lines)


@app.command()
def delete(name: Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)]) -> None:
    """Stop serving NAME and remove its replicas; its history stays."""
    from penstock.control.delivery import delete_deployment

    delete_deployment(name)
    here().show({"deleted": name}, lambda: [f"{name} is being removed"])


def serves(row: dict[str, Any]) -> str:
    """`m:3`, or `m:3 90 %, m:4 10 %` where several versions get requests."""
    shares = [v for v in row["versions"] if v["weight"] > 0]
    if len(shares) < 2:
        return f"{row['model']}:{row['version']}"
    return ", ".join(f"{row['model']}:{v['version']} {v['weight'] * 100:.3g} %" for v in shares)


def _story(found: dict[str, Any]) -> Iterator[str]:
    row = found["deployment"]
    yield f"{row['name']}: {serves(row)} {row['phase']} {row['url'] or ''}"
    if row["scaling"]["wanted"] is not None:
        yield f"  replicas wanted: {row['scaling']['wanted']} ({row['scaling']['reason']})"
    for replica in row["replicas"]:
        yield f"  replica {replica['id']} {replica['phase']} {replica['address'] or ''} {replica['error'] or ''}".rstrip()
    for one in row["adapters"]:
        base = "" if one["base"] else ", its base is not told"
        state = "live" if one["live"] else "not live yet"
        yield f"  adapter {row['name']}:{one['name']} on version {one['version']}: {state}, {one['digest'][:19]} from {one['from']}{base}"
    for entry in found["history"]:
        versions = ", ".join(f"version {v['version']} {v['weight'] * 100:.3g} %" for v in entry["live"]) or "nothing"
        yield f"  live from {when(entry['at'])}: {versions}"
    for event in found["events"]:
        yield f"  {when(event['at'])}  {event['type']}: {event['message']}"
