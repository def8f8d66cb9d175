"""`penstock export`: rules for Prometheus, dashboards for Grafana, the steps as a pipeline of Kubeflow's form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def export() -> None:
    """Write what other systems need: to watch a deployment, or to run the steps of a file."""


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


@app.command()
def kfp(
    file: Annotated[Path, typer.Argument(help="The pipeline file.")] = Path("penstock.yaml"),
    on: Annotated[str | None, typer.Option(metavar="NAME", help="Platform of the file whose pipelines run it (kind vertex).")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file: .yaml, or .json.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value of the file.")] = None,
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", metavar="PATH", help="Value that may be changed when it is started: train.epochs.")
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Start it there, once.")] = False,
) -> None:
    """Write the steps of a run as a Kubeflow pipeline (KFP IR), which Vertex AI Pipelines runs. What they read is sent to the store.

    Afterwards `penstock run --on NAME` finds what was built there, judges it by the gates, registers and deploys it.
    """
    from dataclasses import asdict

    from penstock.control.kfp.export import export as made_of
    from penstock.core.files import write_atomic

    made = made_of(file, overrides=sets or (), on=on, parameters=parameters or (), start=submit)
    for one in made.left_out:
        here().note(f"left out: step {one['step']}: {one['why']}")
    text = _text(made.document, output)
    if output is not None:
        write_atomic(output, text.encode())
    lines = [f"written to {output}"] if output is not None else [] if submit else [text.rstrip("\n")]
    lines += [f"started as {made.job}"] if made.job else []
    here().show({**asdict(made), "file": str(output) if output is not None else None}, lambda: lines)


def _text(document: dict[str, Any], file: Path | None) -> str:
    if file is not None and file.suffix == ".json":
        import json

        return json.dumps(document, indent=1)
    from penstock.core.yaml_text import as_yaml

    return as_yaml(document)
