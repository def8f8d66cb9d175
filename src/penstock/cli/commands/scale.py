"""`penstock scale`: what decides how many replicas a deployment has, changing it, and trying policies out in simulated time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.dates import when
from penstock.cli.output import here, table

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)]


@app.callback()
def scale() -> None:
    """Show and change how many replicas a deployment has, and why; simulate policies; get advice."""


@app.command()
def show(name: Name) -> None:
    """Show bounds, number and reason, the load now, and what changed the number."""
    from penstock.control.scaling.story import scale_story

    _told(scale_story(name))


@app.command("set")
def set_(
    name: Name,
    minimum: Annotated[int | None, typer.Option("--min", min=0, help="Replicas at least; 0 lets an idle deployment sleep.")] = None,
    maximum: Annotated[int | None, typer.Option("--max", min=1, help="Replicas at most.")] = None,
    target_concurrency: Annotated[int | None, typer.Option(min=1, help="Requests at once that one replica should have.")] = None,
    target_rate: Annotated[float | None, typer.Option(help="Requests a second that one replica should have.")] = None,
    target_queue: Annotated[int | None, typer.Option(min=1, help="Waiting requests that ask for one replica more.")] = None,
    down_after: Annotated[str | None, typer.Option(help="How long load must stay low before a replica goes, such as 90s.")] = None,
    idle: Annotated[str | None, typer.Option(help="How long without a request before the last replica goes, such as 10m.")] = None,
    predict: Annotated[bool | None, typer.Option("--predict/--no-predict", help="Start replicas by the load of the last days.")] = None,
) -> None:
    """Change a deployment's bounds and targets; `penstock scale undo` goes back. Audited."""
    from penstock.control.scaling.story import change_scale

    given = {
        "min": minimum,
        "max": maximum,
        "target_concurrency": target_concurrency,
        "target_rate": target_rate,
        "target_queue": target_queue,
        "down_after": down_after,
        "idle": idle,
        "predict": predict,
    }
    _told(change_scale(name, {key: value for key, value in given.items() if value is not None}))


@app.command()
def undo(name: Name) -> None:
    """Go back to the bounds and targets before the last change."""
    from penstock.control.scaling.story import go_back

    _told(go_back(name))


@app.command()
def advise(
    name: Name,
    watch: Annotated[str, typer.Option(help="How long the running replicas are watched.")] = "5s",
    measure: Annotated[bool, typer.Option("--measure", help="Try other settings on the bundle, on this machine; takes a minute.")] = False,
    each: Annotated[str, typer.Option(help="How long each setting is tried.")] = "5s",
) -> None:
    """Advise threads, batch, memory and replicas from what running replicas show; nothing is changed."""
    from penstock.control.scaling.facts import advice_for
    from penstock.core.errors import BadInput
    from penstock.core.units import seconds

    try:
        watch_s, each_s = seconds(watch), seconds(each)
    except ValueError as error:
        raise BadInput(str(error)) from error
    found = advice_for(name, watch_s=watch_s, measure_s=each_s if measure else None, tell=here().note)
    here().show(found, lambda: list(_advised(found)))


@app.command()
def simulate(
    trace: Annotated[str, typer.Option(help="conv or code (Azure 2023), or a CSV file of the same columns.")] = "conv",
    deployment: Annotated[
        str | None, typer.Option(help="Take scale, cold start and measured cost of this one.", autocompletion=complete_deployment)
    ] = None,
    speedup: Annotated[float, typer.Option(help="How much denser than the trace requests come.")] = 1.0,
    minimum: Annotated[int, typer.Option("--min", min=0)] = 1,
    maximum: Annotated[int, typer.Option("--max", min=1)] = 20,
    target_concurrency: Annotated[int, typer.Option(min=1, help="Requests at once that one replica should have.")] = 6,
    slots: Annotated[int, typer.Option(min=1, help="Requests that one replica works on at once; the others wait.")] = 8,
    cold_start: Annotated[str, typer.Option(help="From the wish for a replica to its first answer.")] = "10s",
    down_after: Annotated[str, typer.Option(help="How long load must stay low before a replica goes.")] = "60s",
    days: Annotated[int, typer.Option(min=0, max=14, help="Days like the trace that the prediction has seen.")] = 7,
    plot: Annotated[Path | None, typer.Option(help="Write replicas over time as an SVG here.")] = None,
) -> None:
    """Compare policies on a real trace: waits, replica-hours, cold starts, lost requests."""
    from penstock.control.scaling.simulate import Fleet
    from penstock.control.scaling.story import Trial, simulate_policies
    from penstock.core.errors import BadInput
    from penstock.core.units import seconds
    from penstock.spec.deploy import Scale

    try:
        scale = Scale(min=minimum, max=maximum, target_concurrency=target_concurrency, down_after=seconds(down_after))
        fleet = Fleet(slots=slots, cold_start_s=seconds(cold_start))
    except ValueError as error:
        raise BadInput(str(error)) from error
    trial = Trial(trace, speedup, None if deployment else scale, fleet, days=days, deployment=deployment)
    found = simulate_policies(trial, plot)
    here().show(found, lambda: list(_compared(found)))


def _told(found: dict[str, Any]) -> None:
    here().show(found, lambda: list(_lines(found)))
    if not found["runs"]:
        here().note("The background process does not run: `penstock up` makes it so.")


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['name']}: {found['ready']} of {found['wanted']} replicas ready, {found['min']}–{found['max']} by {found['bounds_by']}"
    yield f"  because: {found['reason']}"
    if found["wishes"]:
        yield "  asked for: " + ", ".join(f"{rule} {number}" for rule, number in sorted(found["wishes"].items()))
    if found["load"] is not None:
        load = found["load"]
        yield f"  load: {load['in_flight']} in flight, {load['waiting']} waiting, {load['held']} held, {load['rate']:.2f} requests/s"
    else:
        yield "  load: the gateway does not say"
    if found["cold_start_s"]:
        yield f"  a start takes {found['cold_start_s']:.1f} s"
    if found["before"] is not None:
        yield "  before: " + (", ".join(f"{key} {value}" for key, value in found["before"].items()) or "the defaults")
    for event in found["events"]:
        yield f"  {when(event['at'])}  {event['message']}"


def _advised(found: dict[str, Any]) -> Iterator[str]:
    facts = found["facts"]
    running = f"{len(facts['replicas'])} replicas watched for {facts['watched_s']:g} s on {facts['cores']} cores"
    yield f"{found['name']}: {running}, {facts['free_bytes'] / 2**20:,.0f} MiB free"
    for replica in facts["replicas"]:
        cores = "" if replica["cores"] is None else f", {replica['cores']:.2f} cores"
        batch = "" if replica["batch"] is None else f", batches of {replica['batch']:.1f}"
        yield f"  {replica['id']}: {replica['requests_s']:.1f} requests/s{cores}{batch}, {replica['memory_bytes'] / 2**20:,.0f} MiB"
    for advice in found["advice"]:
        yield f"{advice['setting']}: {advice['now']} → {advice['better']}"
        yield f"  because {advice['reason']}"
        yield f"  expected: {advice['effect']}"
    if not found["advice"]:
        yield "nothing to change by what was seen" + ("" if found["tried"] else "; --measure tries other settings")


def _compared(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['trace']}: {found['requests']:,} requests in {found['hours']:.2f} h"
    yield f"a replica works on {found['slots']} at once and takes {found['cold_start_s']:g} s to start"
    heads = ("policy", "wait p50", "p95", "p99", "replica-hours", "cold starts", "changes", "dropped")
    rows = []
    for row in found["policies"]:
        waits = [f"{row[f'wait_p{share}_s']:.2f} s" for share in (50, 95, 99)]
        rows.append((row["policy"], *waits, f"{row['replica_hours']:.2f}", row["cold_starts"], row["changes"], row["dropped"]))
    yield from table(heads, rows)
    if found["plot"]:
        yield f"replicas over time: {found['plot']}"
