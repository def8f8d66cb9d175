"""`penstock check FILE`: every problem of a pipeline file, with its line."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.output import here
from penstock.core.errors import FileProblems, Problem

if TYPE_CHECKING:
    from penstock.spec.load import Loaded

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
    if problems := unknown_datasets(loaded):
        raise FileProblems(problems, str(file))
    dump = loaded.pipeline.model_dump(mode="json", by_alias=True)
    steps = [*built_in_steps(dump), *(step.name for step in loaded.pipeline.steps)]
    secrets = sorted(set(secrets_in(dump)))
    found = {"ok": True, "file": str(file), "name": loaded.pipeline.name, "task": loaded.pipeline.task, "steps": steps, "secrets": secrets}
    here().show(found, lambda: [f"{file}: no problems. Steps: {', '.join(steps)}"])


def unknown_datasets(loaded: Loaded) -> list[Problem]:
    """Sources that name a dataset entry which does not exist; only the catalogue is looked at, no bytes."""
    from penstock.stages.data.catalog import ENTRIES

    found = []
    data = loaded.pipeline.data
    for part, sources in (("sources", data.sources), ("test", data.test)) if data else ():
        for index, source in enumerate(sources):
            if source.dataset is not None and source.dataset not in ENTRIES:
                path = f"data.{part}.{index}.dataset"
                near = difflib.get_close_matches(source.dataset, ENTRIES, 1)
                reason = f"no dataset entry is called {source.dataset!r} (known: {', '.join(ENTRIES)})"
                found.append(Problem(path, reason, loaded.lines.get(path, 0), 1, near[0] if near else None))
    return found
