"""`penstock export`: rules for Prometheus, dashboards for Grafana."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def export() -> None:
    """Write what other monitoring systems need to watch a deployment."""


@app.command()
def rules(
    what: Annotated[str, typer.Argument(metavar="NAME|FILE", help="Deployment, or pipeline file.", autocompletion=complete_deployment)],
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
    scrape: Annotated[str, typer.Option(help="How often Prometheus reads the gateway.")] = "15s",
) -> None:
    """Write Prometheus rules: rates to record, the alerts of the file, and alerts about Penstock itself."""
    from penstock.cli.state import opened
    from penstock.control.rules.commands import rules_of_deployment, rules_of_file
    from penstock.core.errors import BadInput
    from penstock.core.files import write_atomic
    from penstock.core.units import seconds

    try:
        scrape_s = seconds(scrape)
    except ValueError as error:
        raise BadInput(f"--scrape: {error}") from None
    if scrape_s < 0.001:
        raise BadInput(f"--scrape: {scrape!r} is less than a millisecond")
    if Path(what).suffix in (".yaml", ".yml") or Path(what).is_file():
        made = rules_of_file(Path(what), scrape_s)
    else:
        with opened() as store:
            made = rules_of_deployment(store, what, scrape_s)
    text = made.as_yaml()
    if out is not None:
        write_atomic(out, text.encode())
    left_out = [{"where": one.where, "text": one.text, "why": one.why} for one in made.left_out]
    for one in made.left_out:
        here().note(f"left out: {one.where}: {one.text!r} {one.why}")
    data = {"rules": made.document, "left_out": left_out, "file": str(out) if out is not None else None}
    here().show(data, lambda: [f"written to {out}" if out is not None else text.rstrip("\n")])


@app.command()
def dashboards(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to write to.")] = Path("dashboards"),
    system: Annotated[str, typer.Option("--for", help="Monitoring system: grafana.")] = "grafana",
) -> None:
    """Write dashboards: one of a deployment, one of signals; both let you choose the deployment."""
    from penstock.control.boards.table import write_boards

    files = [str(path) for path in write_boards(folder, system)]
    here().show({"system": system, "files": files}, lambda: [f"written to {path}" for path in files])
