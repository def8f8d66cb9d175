"""`penstock plan FILE`: the steps of a run, which are in the store, and why the others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli.output import here, table

app = typer.Typer(rich_markup_mode=None)


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(help="The pipeline file.")] = Path("penstock.yaml"),
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value before planning.")] = None,
) -> None:
    """Show the steps of a run, which are cached, and why the others are not. Nothing is run."""
    from penstock.control.api import plan as make

    found = make(file, overrides=sets or ())
    here().show(found.as_json(), lambda: _lines(found))


def _lines(plan: Any) -> list[str]:
    from penstock.core.units import show_seconds

    rows = [
        (s.name, s.action, "" if s.estimate_s is None or s.action == "cached" else f"~{show_seconds(s.estimate_s)}", "; ".join(s.why))
        for s in plan.steps
    ]
    lines = table(("step", "action", "time", "why"), rows)
    to_run = sum(1 for s in plan.steps if s.action == "run")
    total = "" if plan.estimate_s is None else f", about {show_seconds(plan.estimate_s)}"
    lines.append(f"{to_run} of {len(plan.steps)} steps would run{total if to_run else ''}")
    lines += [f"gate: {gate}" for gate in plan.gates]
    if plan.deploy:
        lines.append(f"then: deploy as {plan.deploy}")
        lines += [f"  adapter {plan.deploy}:{name} {one['digest'][:19]} from {one['from']}" for name, one in plan.adapters.items()]
    return lines
