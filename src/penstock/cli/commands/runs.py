"""`penstock runs`: list, show, follow, cancel and compare runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli import compare as comparing
from penstock.cli.completion import complete_run
from penstock.cli.dates import when
from penstock.cli.figures import listed
from penstock.cli.output import here, table
from penstock.cli.state import steps_of

if TYPE_CHECKING:
    from penstock.store.resources import Resource

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
Run = Annotated[str, typer.Argument(help="Run id or its beginning, pipeline name, or latest.", autocompletion=complete_run)]


@app.callback()
def runs(ctx: typer.Context) -> None:
    """List runs; show, follow, cancel or compare them (alone: list)."""
    if ctx.invoked_subcommand is None:
        list_runs()


@app.command("list")
def list_runs(
    pipeline: Annotated[str | None, typer.Option(help="Only runs of this pipeline.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
) -> None:
    """List runs, newest first."""
    from penstock.cli.state import has_state, opened
    from penstock.core.home import Home

    found: list[dict[str, Any]] = []
    if has_state(Home.find()):
        with opened() as store:
            found = [_brief(run) for run in store.resources.list("run", name=pipeline, limit=limit)]
    rows = [(r["run"], r["pipeline"], r["status"], f"{r['steps']['done']}/{r['steps']['total']}", when(r["created_at"])) for r in found]
    here().show({"runs": found}, lambda: table(("RUN", "PIPELINE", "STATUS", "STEPS", "CREATED"), rows) if rows else ["no runs yet"])


@app.command()
def show(run: Run = "latest") -> None:
    """Show a run: steps, metrics, gates, model, deployment, what happened."""
    from penstock.cli.state import find_run, opened

    with opened() as store:
        found = find_run(store, run)
        events: list[dict[str, Any]] = [{"at": e.at, "type": e.type, "message": e.message} for e in store.events.list("run", found.id)]
        now = store.clock.now()
    here().show({**_whole(found), "events": events}, lambda: [*_lines(found, now), *(f"{when(e['at'])}  {e['message']}" for e in events)])


@app.command()
def report(
    run: Run = "latest",
    out: Annotated[Path | None, typer.Option(help="Copy the page here.")] = None,
) -> None:
    """Say where the HTML report of a run is: one self-contained page, to open in any browser."""
    import shutil

    from penstock.cli.state import find_run, opened
    from penstock.core.errors import NotFound
    from penstock.core.files import told_plainly

    with opened() as store:
        found = find_run(store, run)
        digest = found.status.get("steps", {}).get("evaluate", {}).get("outputs", {}).get("report")
        if digest is None:
            raise NotFound(f"run {found.id} has no report", remedy="Only a run whose evaluate step is done has one.")
        page = store.artifacts.materialize(digest) / "report.html"
    if out is not None:
        target = out / page.name if out.is_dir() else out
        with told_plainly(target):
            shutil.copyfile(page, target)
        page = target
    here().show({"run": found.id, "report": str(page), "digest": digest}, lambda: [str(page)])


@app.command()
def curves(
    run: Run = "latest",
    name: Annotated[str | None, typer.Option(help="Only this curve, such as train.loss.")] = None,
) -> None:
    """Draw the curves of a run, such as its losses; after --json every point."""
    from penstock.cli.curves import curve_lines, curves_of
    from penstock.cli.state import find_run, opened

    with opened() as store:
        found = find_run(store, run)
        drawn = curves_of(store.points.read(found.id, name=name))
    lines = curve_lines(drawn) or [f"{found.id} has no points" + (f" named {name}" if name else "")]
    here().show({"run": found.id, "curves": drawn}, lambda: lines)


@app.command()
def logs(
    run: Run = "latest",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    step: Annotated[str | None, typer.Option(help="Only this step.")] = None,
) -> None:
    """Print the logs of a run's steps; after --json one JSON object a line."""
    from penstock.cli.logs import print_logs
    from penstock.cli.state import find_run, opened

    with opened() as store:
        print_logs(store, find_run(store, run).id, step, follow=follow)


@app.command()
def cancel(run: Run) -> None:
    """Ask a run to stop; its running steps save and end, finished ones are kept."""
    from penstock.cli.state import find_run, opened, principal
    from penstock.control.loop import end_if_orphaned
    from penstock.core.home import Home

    with opened() as store:
        found = find_run(store, run)
        if found.phase in ENDED:
            here().show({"run": found.id, "status": found.phase, "cancel": False}, lambda: [f"{found.id} has already ended: {found.phase}"])
            return
        with store.database.begin():
            store.resources.set_spec("run", found.id, {**found.spec, "cancel": True})
            store.events.add("run", found.id, "run.cancel", f"cancel asked for by {principal()}", None)
            store.audit.append(principal(), "run.cancel", found.id, {})
        end_if_orphaned(store, Home.find(), found.id)
        phase = store.resources.get("run", found.id).phase
    told = f"{found.id} is cancelled" if phase == "cancelled" else f"{found.id} is asked to stop"
    here().show({"run": found.id, "status": phase, "cancel": True}, lambda: [told])


@app.command()
def compare(first: Run, second: Run) -> None:
    """Compare two runs: what differs in the file, and their metrics."""
    from penstock.cli.state import find_run, opened
    from penstock.control.keys import differences

    with opened() as store:
        one, two = find_run(store, first), find_run(store, second)
    changed = differences(one.spec.get("pipeline", {}), two.spec.get("pipeline", {}))
    rows = comparing.metrics(one.status.get("metrics", {}), two.status.get("metrics", {}))
    data = {"first": _brief(one), "second": _brief(two), "changed": changed, "metrics": rows}
    here().show(data, lambda: [*(changed or ["the same pipeline"]), *comparing.lines((_short(one), _short(two)), rows)])


ENDED = frozenset({"succeeded", "failed", "refused", "rolled_back", "cancelled", "interrupted"})
_DONE = ("succeeded", "cached")
_ABSENT: dict[str, Any] = {"attempt": 0, "outputs": {}, "metrics": {}}  # a step's row is kept short: what is not there is this


def _short(run: Resource) -> str:
    return run.id.removeprefix("run-")[:10]


def _brief(run: Resource) -> dict[str, Any]:
    steps = run.status.get("steps", {})
    done = sum(step.get("phase") in _DONE for step in steps.values())
    model = run.status.get("model")
    counts = {"done": done, "total": len(steps)}
    return {"run": run.id, "pipeline": run.name, "status": run.phase, "created_at": run.created_at, "steps": counts, "model": model}


def _whole(run: Resource) -> dict[str, Any]:
    wanted = ("phase", "key", "seconds", "attempt", "outputs", "metrics", "error", "message")
    steps = [{"name": name, **{field: step.get(field, _ABSENT.get(field)) for field in wanted}} for name, step in steps_of(run).items()]
    rest = {name: run.status.get(name) for name in ("metrics", "gates", "model", "deployment", "error", "started_at", "ended_at")}
    rest = {**rest, "metrics": rest["metrics"] or {}, "gates": rest["gates"] or []}
    return {**_brief(run), "steps": steps, **rest, "file": run.spec.get("file"), "set": run.spec.get("set", [])}


def _lines(run: Resource, now: float) -> list[str]:
    from penstock.cli.live import closing_line, gate_line, step_line
    from penstock.control.show import view_of

    view = view_of(run, run.status.get("ended_at") or now)  # a step that failed stands still with its run
    width = max((len(step.name) for step in view.steps), default=0)
    lines = [f"{run.id}  {run.name}  {run.phase}  created {when(run.created_at)}"]
    lines += [f"  {step.name:<{width}}  {step_line(step)}" for step in view.steps]
    lines += [f"  {gate_line(gate)}" for gate in view.gates]
    lines += [f"  {line}" for line in listed(run.status.get("metrics", {}))]
    if error := run.status.get("error"):
        lines.append(f"  error: {error.get('message')}")
    return [*lines, closing_line(view)]
