"""`penstock report`: what a deployment did in a time, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def report(
    deployment: Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)],
    since: Annotated[str, typer.Option(help="From when: an age such as 12h or 7d, or a time.")] = "7d",
    until: Annotated[str, typer.Option(help="Up to when: an age, a time, or now.")] = "now",
    out: Annotated[Path | None, typer.Option(help="File to write; default: DEPLOYMENT-report.html here.")] = None,
) -> None:
    """Write what DEPLOYMENT did in a time as one self-contained page: traffic, latency, errors, accuracy, drift, alerts, reactions."""
    from penstock.control.report.commands import write_report

    told = write_report(deployment, since, until, out or Path(f"{deployment}-report.html"))
    lines = [f"{one['figure']}: {one['value']}{', ' + one['note'] if one['note'] else ''}" for one in told["figures"]]
    here().show(told, lambda: [*lines, f"written to {told['file']}"])
