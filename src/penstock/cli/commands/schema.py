"""`penstock schema`: the JSON Schema of the pipeline file."""

from __future__ import annotations

import typer

from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the pipeline file, for editors."""
    import json

    from penstock.spec.schema import json_schema

    made = json_schema()
    here().show(made, lambda: [json.dumps(made, indent=2, ensure_ascii=False)])
