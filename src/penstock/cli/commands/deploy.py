"""`penstock deploy MODEL [VERSION]`: serve a registered version."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.completion import complete_model
from penstock.cli.output import here
from penstock.core.errors import BadInput

app = typer.Typer(rich_markup_mode=None)


@app.command()
def deploy(
    model: Annotated[str, typer.Argument(help="Model name.", autocompletion=complete_model)],
    version: Annotated[str, typer.Argument(help="Version number or alias.")] = "champion",
    name: Annotated[str | None, typer.Option(help="Deployment name; default: the model's.")] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Serving processes; default: as many as now, or 1.")] = None,
    to: Annotated[str | None, typer.Option(help="Platform; default: the one it is on, or laptop.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Deploy a version that its gates refused. Audited.")] = False,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SOURCE", help="A LoRA adapter: registry:MODEL@VERSION, a folder, sha256:…; NAME= takes it away."),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="At once, without the deployment's strategy.")] = False,
) -> None:
    """Serve a registered model version behind the gateway, replacing the one before without losing a request.

    Where the deployment declares a strategy, a rollout begins instead: `penstock rollouts show NAME --follow` shows it. Adapters stay, but
    for those that `--adapter` changes.
    """
    from penstock.control.delivery import deploy_version

    changes = _changes(adapter or [])
    row = deploy_version(name or model, model, version, replicas=replicas, platform=to, force=force, now=now, adapters=changes)
    if row.get("rollout"):
        here().show(row, lambda: [f"{row['name']}: {row['rollout']} brings {row['model']}:{row['bringing']} step by step"])
    else:
        here().show(row, lambda: [f"{row['name']} serves {row['model']}:{row['version']} at {row['url']}"])


def _changes(options: list[str]) -> dict[str, str | None]:
    """By name: where the adapter comes from, None where it goes."""
    changes: dict[str, str | None] = {}
    for option in options:
        name, given, source = option.partition("=")
        if not given:
            raise BadInput(f"--adapter {option!r} has no `=`", remedy="Write --adapter NAME=SOURCE, or NAME= to take it away.")
        changes[name] = source or None
    return changes
