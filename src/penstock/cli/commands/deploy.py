"""`penstock deploy MODEL [VERSION]`: serve a registered version."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.completion import complete_model
from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def deploy(
    model: Annotated[str, typer.Argument(help="Model name.", autocompletion=complete_model)],
    version: Annotated[str, typer.Argument(help="Version number or alias.")] = "champion",
    name: Annotated[str | None, typer.Option(help="Deployment name; default: the model's.")] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Serving processes; default: as many as now, or 1.")] = None,
    to: Annotated[str | None, typer.Option(help="Platform; default: the one it is on, or laptop.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Deploy a version that its gates refused. Audited.")] = False,
    now: Annotated[bool, typer.Option("--now", help="At once, without the deployment's strategy.")] = False,
) -> None:
    """Serve a registered model version behind the gateway, replacing the one before without losing a request.

    Where the deployment declares a strategy, a rollout begins instead: `penstock rollouts show NAME --follow` shows it.
    """
    from penstock.control.delivery import deploy_version

    row = deploy_version(name or model, model, version, replicas=replicas, platform=to, force=force, now=now)
    if row.get("rollout"):
        here().show(row, lambda: [f"{row['name']}: {row['rollout']} brings {row['model']}:{row['bringing']} step by step"])
    else:
        here().show(row, lambda: [f"{row['name']} serves {row['model']}:{row['version']} at {row['url']}"])
