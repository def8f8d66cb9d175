"""`penstock rollback NAME`: serve an earlier version again."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)],
    to: Annotated[int | None, typer.Option(help="Version to go back to; default: the one that served before.")] = None,
) -> None:
    """Serve an earlier version again; without --to, the one that served before the present one."""
    from penstock.control.delivery import roll_back

    row = roll_back(name, to)
    here().show(row, lambda: [f"{row['name']} serves {row['model']}:{row['version']} again at {row['url']}"])
