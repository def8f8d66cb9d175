"""`penstock doctor`: what is installed, what this machine has, what is missing, and the exact fix."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)

MARKS = {"ok": "ok  ", "missing": "--  ", "problem": "!!  "}


@app.command()
def doctor(devices: Annotated[bool, typer.Option(help="Ask torch for GPUs (takes seconds where torch is installed).")] = True) -> int:
    """Report what is installed, what is missing, and the fix. Exits with 1 when something that Penstock always needs is broken."""
    from penstock.cli.examination import examine

    findings = examine(ask_torch=devices)
    broken = [f for f in findings if f.state == "problem"]
    data = {"ok": not broken, "findings": [asdict(f) for f in findings]}

    def lines() -> list[str]:
        width = max(len(f.name) for f in findings)
        told = []
        for group in dict.fromkeys(f.group for f in findings):
            told.append(group)
            for found in (f for f in findings if f.group == group):
                told.append(f"  {MARKS[found.state]}{found.name:<{width}}  {found.detail}")
                if found.fix:
                    told.append(f"      {'':<{width}}  fix: {found.fix}")
        return [*told, f"{len(broken)} problems" if broken else "nothing is broken; what is missing is optional"]

    here().show(data, lines)
    return 1 if broken else 0
