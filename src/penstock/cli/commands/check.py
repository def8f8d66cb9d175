"""`penstock check FILE`: every problem of a pipeline file, with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The pipeline file.")] = Path("penstock.yaml"),
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value before checking.")] = None,
) -> None:
    """Check a pipeline file and list every problem with its line."""
    from penstock.spec.load import load
    from penstock.spec.references import secrets_in
    from penstock.spec.structure import built_in_steps

    loaded = load(file, overrides=sets or ())
    dump = loaded.pipeline.model_dump(mode="json", by_alias=True)
    steps = [*built_in_steps(dump), *(step.name for step in loaded.pipeline.steps)]
    secrets = sorted(set(secrets_in(dump)))
    found = {"ok": True, "file": str(file), "name": loaded.pipeline.name, "task": loaded.pipeline.task, "steps": steps, "secrets": secrets}
    here().show(found, lambda: [f"{file}: no problems. Steps: {', '.join(steps)}"])
