"""`penstock export`: rules for Prometheus, dashboards for Grafana, the steps as another system's pipeline, a model as a function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli.completion import complete_deployment, complete_model
from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def export() -> None:
    """Write what other systems need: to watch a deployment, to run the steps of a file, to run a model as a function."""


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
    text = _text(made.document, as_json=output is not None and output.suffix == ".json")
    if output is not None:
        write_atomic(output, text.encode())
    lines = [f"written to {output}"] if output is not None else [] if submit else [text.rstrip("\n")]
    lines += [f"started as {made.job}"] if made.job else []
    here().show({**asdict(made), "file": str(output) if output is not None else None}, lambda: lines)


@app.command()
def stepfunctions(
    file: Annotated[Path, typer.Argument(help="The pipeline file.")] = Path("penstock.yaml"),
    on: Annotated[str | None, typer.Option(metavar="NAME", help="Platform of the file whose jobs it runs (kind sagemaker).")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file: .json, or .yaml.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value of the file.")] = None,
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", metavar="PATH", help="Value that may be changed when it is started: train.epochs.")
    ] = None,
    schedule: Annotated[list[str] | None, typer.Option(metavar="WHEN", help="Start it by the clock: 'rate(1 day)', 'cron(…)'.")] = None,
    timezone: Annotated[str, typer.Option(help="Of the schedules: Europe/Berlin.")] = "UTC",
    when_object: Annotated[list[str] | None, typer.Option(metavar="s3://BUCKET/PREFIX", help="Start it when an object comes.")] = None,
    triggers: Annotated[bool, typer.Option("--triggers", help="Start it as the file's `triggers` say, too.")] = False,
    submit: Annotated[bool, typer.Option("--submit", help="Make or change it there with what starts it, and start it once.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Stop it and take it away there with what starts it.")] = False,
) -> None:
    """Write the steps of a run as a state machine of AWS Step Functions (ASL). What they read is sent to the store.

    Afterwards `penstock run --on NAME` finds what was built there, judges it by the gates, registers and deploys it.
    """
    from dataclasses import asdict

    from penstock.control.stepfunctions.export import Unasked
    from penstock.control.stepfunctions.export import export as made_of
    from penstock.control.stepfunctions.export import remove as taken_away
    from penstock.core.errors import BadInput
    from penstock.core.files import write_atomic

    if remove:
        if submit or schedule or when_object or triggers:
            raise BadInput("--remove goes with none of --submit, --schedule, --when-object, --triggers")
        went = taken_away(file, on=on)
        here().show({"removed": went}, lambda: went or ["nothing was there"])
        return
    unasked = Unasked(schedule or (), timezone, when_object or (), triggers)
    made = made_of(file, overrides=sets or (), on=on, parameters=parameters or (), unasked=unasked, submit=submit)
    for one in made.left_out:
        here().note(f"left out: {one['what']}: {one['why']}")
    if made.starts and not submit:
        here().note("what starts it is made with --submit")
    for uri in made.anew:
        here().note(f"each execution looks at {uri} again, and trains on what it holds then")
    text = _text(made.document, as_json=output is None or output.suffix != ".yaml")
    if output is not None:
        write_atomic(output, text.encode())
    lines = [f"written to {output}"] if output is not None else [] if submit else [text.rstrip("\n")]
    lines += [*made.did, *([f"started as {made.execution}"] if made.execution else [])]
    here().show({**asdict(made), "file": str(output) if output is not None else None}, lambda: lines)


@app.command()
def function(
    model: Annotated[str, typer.Argument(metavar="MODEL[:VERSION]", help="Of the registry.", autocompletion=complete_model)],
    image: Annotated[str, typer.Option(help="With Penstock in it (`penstock image build`).")],
    kind: Annotated[str, typer.Option("--for", help="knative, cloud-run or lambda.")] = "knative",
    name: Annotated[str | None, typer.Option(help="Of the function. [default: the model's]")] = None,
    bundled: Annotated[bool, typer.Option("--bundled", help="The image was built with --bundle: nothing is fetched.")] = False,
    role: Annotated[str, typer.Option(help="Identity that it takes on: role, service account.")] = "",
    memory: Annotated[str, typer.Option(help="Of one container.")] = "2GiB",
    cpus: Annotated[float, typer.Option(min=0.1, help="Of one container; Lambda gives them by memory.")] = 1.0,
    timeout: Annotated[str, typer.Option(help="Of one request.")] = "60s",
    concurrency: Annotated[int, typer.Option(help="Requests at once in one container; Lambda: one.")] = 16,
    most: Annotated[int, typer.Option(help="Containers; Lambda: its account's limit.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """Write what makes a model version a function that costs nothing while nobody asks.

    A Knative Service as YAML, also for `gcloud run services replace`; JSON for `aws lambda create-function --cli-input-json`.
    """
    from penstock.core.errors import BadInput
    from penstock.core.files import write_atomic
    from penstock.core.units import seconds, size_bytes
    from penstock.platforms.function.manifests import KINDS, Wanted

    if kind not in KINDS:
        raise BadInput(f"--for {kind!r}: choose from {', '.join(KINDS)}")
    try:
        memory_bytes, timeout_s = size_bytes(memory), seconds(timeout)
    except ValueError as error:
        raise BadInput(f"--memory or --timeout: {error}") from None
    plain, told = _serving(model, bundled)
    wanted = Wanted(name or plain, image, told, memory_bytes, cpus, timeout_s, concurrency, most, role)
    made = KINDS[kind](wanted)
    text = _text(made, as_json=kind == "lambda")
    if out is not None:
        write_atomic(out, text.encode())
    here().show(
        {"function": made, "file": str(out) if out is not None else None}, lambda: [f"written to {out}" if out else text.rstrip("\n")]
    )


def _serving(model: str, bundled: bool) -> tuple[str, dict[str, str]]:
    """The model's name, and the variables that say what to serve: none where the image says it."""
    from penstock.cli.state import opened
    from penstock.core.errors import BadInput
    from penstock.platforms.contract import EndpointSpec, VersionSpec
    from penstock.platforms.remote.told import telling

    name, _, version = model.partition(":")
    with opened() as store:
        found, url = store.registry.get(name, version or "latest"), store.artifacts.url
    if bundled:
        return name, {}
    if "://" not in url or url.startswith("file:"):
        remedy = f"Build the image with --bundle {model} and add --bundled, or keep artifacts in a bucket (PENSTOCK_ARTIFACTS)."
        raise BadInput(f"the artifact store {url} lies on this machine, where a function cannot reach it", remedy=remedy)
    one = VersionSpec(str(found.version), found.bundle, 1)
    return name, telling(EndpointSpec(name, (one,)), one, url)


def _text(value: dict[str, Any], *, as_json: bool) -> str:
    if as_json:
        import json

        return json.dumps(value, indent=2) + "\n"
    from penstock.core.yaml_text import as_yaml

    return as_yaml(value)
