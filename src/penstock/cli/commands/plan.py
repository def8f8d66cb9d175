"""`penstock plan FILE`: the steps of a run, which are in the store, why the others are not, and where they would run at what price."""

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
    on: Annotated[str | None, typer.Option(metavar="NAME", help="Platform of the file: its machines, prices and calls.")] = None,
) -> None:
    """Show the steps of a run, which are cached, and why the others are not. Nothing is run, nobody is asked."""
    from penstock.control.api import plan as make

    found = make(file, overrides=sets or (), on=on)
    here().show(found.as_json(), lambda: _lines(found))


def _lines(plan: Any) -> list[str]:
    from penstock.core.units import show_seconds

    away = {name: quote for name, quote in plan.quotes.items() if quote.calls}
    rows = [
        (
            s.name,
            s.action + (f", {s.processes} processes" if s.processes > 1 else ""),
            "" if s.estimate_s is None or s.action == "cached" else f"~{show_seconds(s.estimate_s)}",
            "; ".join(s.why),
        )
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
    return lines + (_places(plan, away) if away else [])


def _places(plan: Any, quotes: Any) -> list[str]:
    """Machines, prices and calls of a platform that is not this machine."""
    rows = []
    for step in plan.steps:
        rows.append(_place(step.name, quotes[step.name]))
        rows += [_place("  otherwise", quote) for quote in quotes[step.name].otherwise]
    total = plan.estimate_usd
    lines = ["", f"on {plan.platform}:", *table(("step", "machine", "", "price"), rows)]
    lines += [] if total is None else [f"about {total:.2f} USD for what would run"]
    calls = [*(call for step in plan.steps if step.action == "run" for call in quotes[step.name].calls), *plan.serving]
    return lines + (["it would ask for:", *(f"  {call}" for call in dict.fromkeys(calls))] if calls else [])


def _place(name: str, quote: Any) -> tuple[str, str, str, str]:
    price = "not known" if quote.usd_per_h is None else f"{quote.usd_per_h:.2f} USD/h"
    of = f" ({quote.prices_of})" if quote.prices_of else ""
    machine = f"{quote.nodes} × {quote.machine}" if quote.nodes > 1 else quote.machine
    return name, f"{machine} on {quote.on}" if quote.on else machine, "spot" if quote.spot else "", f"{price}{of}"
