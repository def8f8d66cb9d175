"""`penstock triggers`: when pipelines run unasked: list, set from a file, fire, remove."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli.dates import when
from penstock.cli.output import here, table

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
File = Annotated[Path, typer.Argument(help="The pipeline file.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value of the file.")]
EXIT_CODES = {"succeeded": 0, "refused": 3, "rolled_back": 5}


@app.callback()
def triggers(ctx: typer.Context) -> None:
    """List the triggers of all pipelines; set those of a file; fire a pipeline now; remove."""
    if ctx.invoked_subcommand is None:
        _list()


@app.command("list")
def list_() -> None:
    """List the triggers of all pipelines."""
    _list()


def _list() -> None:
    from penstock.control.triggers.commands import trigger_rows

    rows = trigger_rows()
    heads = ("pipeline", "when", "does", "next", "last")
    cells = [(r["pipeline"], _when(t), t["do"], _time(t["next"]), _last(t)) for r in rows for t in r["triggers"]]
    here().show({"triggers": rows}, lambda: table(heads, cells) if cells else ["no triggers"])


@app.command("set")
def set_(file: File = Path("penstock.yaml"), sets: Sets = None) -> None:
    """Take over the triggers that FILE declares, without running it."""
    from penstock.control.triggers.commands import set_triggers

    row = set_triggers(file, sets or ())
    here().show(row, lambda: [f"{row['pipeline']}: {', '.join(_when(t) + ' → ' + t['do'] for t in row['triggers'])}"])


@app.command()
def fire(
    file: File = Path("penstock.yaml"),
    sets: Sets = None,
    ident: Annotated[str | None, typer.Option("--id", help="A name for this, such as a commit: the same name is the same run.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit as `penstock run` would.")] = False,
) -> int:
    """Run FILE in the background now, as a trigger would: for CI."""
    from penstock.control.triggers.commands import fire_now

    found = fire_now(file, sets or (), ident, wait)
    here().show(found, lambda: [f"run {found['run']}: {found['status']}"])
    return EXIT_CODES.get(found["status"], 1) if wait else 0


@app.command()
def remove(pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")]) -> None:
    """Remove the triggers of PIPELINE; running it again sets them as its file says."""
    from penstock.control.triggers.commands import remove_triggers

    remove_triggers(pipeline)
    here().show({"removed": pipeline}, lambda: [f"{pipeline} has no triggers any more"])


def _when(trigger: dict[str, Any]) -> str:
    return f"{trigger['cron']} {trigger['timezone']}" if trigger.get("cron") else "its data changes"


def _time(at: float | None) -> str:
    return "-" if at is None else when(at)


def _last(trigger: dict[str, Any]) -> str:
    if trigger.get("error"):
        return f"failed: {trigger['error'][:60]}"
    last = trigger.get("last_fired")
    return "-" if last is None else f"{when(last['at'])} {last['says']}"
