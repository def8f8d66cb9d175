"""`penstock reactions`: what was done by itself and why: list, show, answer a question."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.dates import when
from penstock.cli.output import here, table

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
Ident = Annotated[str, typer.Argument(help="Id of a reaction, or its beginning; `latest` is the newest.")]


@app.callback()
def reactions(ctx: typer.Context) -> None:
    """List reactions, newest first; show one with cause, action and effect; answer one that asks."""
    if ctx.invoked_subcommand is None:
        _list(None)


@app.command("list")
def list_(
    deployment: Annotated[str | None, typer.Option(help="Only of this deployment.", autocompletion=complete_deployment)] = None,
) -> None:
    """List reactions, newest first."""
    _list(deployment)


def _list(deployment: str | None) -> None:
    from penstock.control.reactions.commands import reaction_rows

    rows = reaction_rows(deployment)
    heads = ("reaction", "deployment", "rule", "does", "phase", "says", "since")
    cells = [
        (r["id"], r["deployment"], r["rule"], ", ".join(r["actions"]), r["phase"], r["says"][:70], when(r["created_at"])) for r in rows
    ]
    here().show({"reactions": rows}, lambda: table(heads, cells) if rows else ["no reactions"])


@app.command()
def show(reaction: Ident = "latest") -> None:
    """Show a reaction: what caused it, what it did, what that changed."""
    from penstock.control.reactions.commands import reaction_story

    found = reaction_story(reaction)
    here().show(found, lambda: list(_story(found)))


@app.command()
def answer(
    reaction: Ident,
    yes: Annotated[bool, typer.Option("--yes/--no", help="Go on, or let it be.")],
    comment: Annotated[str | None, typer.Option(help="Why; kept with the answer.")] = None,
) -> None:
    """Answer a reaction that asks a person."""
    from penstock.control.reactions.commands import give_answer

    row = give_answer(reaction, yes, comment)
    here().show(row, lambda: [f"{row['id']}: {'yes' if yes else 'no'}"])


def _story(found: dict[str, Any]) -> Iterator[str]:
    row = found["reaction"]
    yield f"{row['id']}  {row['deployment']}  rule {row['rule']}: {row['when']}"
    cause = row["cause"]
    yield f"  cause   {cause.get('says') or cause}"
    for step in row["steps"] or [{"action": name, "phase": "pending", "says": ""} for name in row["actions"]]:
        yield f"  action  {step['action']}: {step['phase']}{'  ' + step['says'] if step['says'] else ''}"
        for name, value in (step.get("effect") or {}).items():
            yield f"  effect  {name}: {value}"
    cost = f", {row['cost_usd']:.2f} USD" if row["cost_usd"] else ""
    yield f"  {row['phase']}{cost}"
    for event in found["events"]:
        yield f"  {when(event['at'])}  {event['type'].removeprefix('reaction.')}: {event['message']}"
