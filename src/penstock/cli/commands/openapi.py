"""`penstock openapi`: the OpenAPI document of the gateway or of a replica."""

from __future__ import annotations

import typer

from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def openapi(replica: bool = typer.Option(False, "--replica", help="Of a replica, not of the gateway.")) -> None:
    """Print the OpenAPI document of the gateway, for clients and generators."""
    import json

    from penstock.serving.openapi import document

    made = document("replica" if replica else "gateway")
    here().show(made, lambda: [json.dumps(made, indent=2, ensure_ascii=False)])
