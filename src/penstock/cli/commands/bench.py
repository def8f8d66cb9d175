"""`penstock bench NAME|URL`: load on a deployment or any OpenAI-compatible URL, the knee, and reports; `penstock bench compare`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from typer.core import TyperGroup

from penstock.cli.completion import complete_deployment
from penstock.cli.output import here, table
from penstock.core.errors import BadInput

if TYPE_CHECKING:
    from penstock.control.loadtest.arrivals import Shape


class WithTarget(TyperGroup):
    """`bench NAME` is `bench run NAME`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = next((arg for arg in args if arg not in ("--json", "--debug")), "--help")
        return super().parse_args(ctx, args if first in (*self.commands, "--help", "-h") else ["run", *args])


app = typer.Typer(rich_markup_mode=None, cls=WithTarget)


@app.callback()
def bench() -> None:
    """Send load to a deployment or URL: latency from when each request was due, the knee, recovery; or compare two reports."""


@app.command()
def run(
    target: Annotated[str, typer.Argument(metavar="NAME|URL", help="Deployment, or URL.", autocompletion=complete_deployment)],
    rate: Annotated[float | None, typer.Option(help="Requests a second, held (default 10).")] = None,
    step: Annotated[str | None, typer.Option(help="Rates one after another: 10,20,40.")] = None,
    ramp: Annotated[str | None, typer.Option(help="From one rate to another: 10:100.")] = None,
    spike: Annotated[str | None, typer.Option(help="A rate with a peak in the middle: 10:100.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="A closed loop of so many clients instead.")] = None,
    trace: Annotated[str | None, typer.Option(help="Replay arrivals and lengths: conv, code (Azure 2023), or a CSV file.")] = None,
    speedup: Annotated[float, typer.Option(help="Replay the trace so many times as fast.")] = 1.0,
    find_knee: Annotated[bool, typer.Option("--find-knee", help="Search the highest rate that keeps --slo.")] = False,
    slo: Annotated[str, typer.Option(help="The promise: p95=200ms, ttft.p95=300ms.")] = "p95=200ms",
    max_rate: Annotated[float, typer.Option(help="Highest rate that the search may try.")] = 20_000.0,
    stress: Annotated[bool, typer.Option("--stress", help="Then twice the rate (or the knee), and back: does latency recover?")] = False,
    duration: Annotated[str, typer.Option(help="How long, such as 30s or 5m; all of a trace unless given.")] = "",
    arrivals: Annotated[str, typer.Option(click_type=click.Choice(["poisson", "uniform"]), help="How arrivals are spaced.")] = "poisson",
    prompts: Annotated[Path | None, typer.Option(help="JSONL, CSV, Parquet or text file of prompts.", exists=True)] = None,
    column: Annotated[str | None, typer.Option(help="Column of --prompts; default: text, prompt or input.")] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of prompts that are made up.")] = 32,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 32,
    stream: Annotated[bool, typer.Option("--stream/--no-stream", help="Read answers as they are generated.")] = True,
    route: Annotated[str | None, typer.Option(help="classify, embeddings, completions or chat; default: by the task.")] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask for; default: the deployment's or the URL's only one.")] = None,
    key: Annotated[str | None, typer.Option(envvar="PENSTOCK_KEY", help="Gateway key; default: the commands' own.")] = None,
    connections: Annotated[int, typer.Option(min=1, help="Connections at most.")] = 512,
    timeout: Annotated[str, typer.Option(help="A client's patience.")] = "60s",
    warmup: Annotated[str, typer.Option(help="Requests one after another, before times are taken.")] = "1s",
    seed: Annotated[int, typer.Option(help="Of arrivals and prompts.")] = 0,
    page: Annotated[Path | None, typer.Option(help="Write the report as one HTML page.")] = None,
    export: Annotated[tuple[str, Path] | None, typer.Option(metavar="k6|locust FILE", help="Write a script instead of testing.")] = None,
) -> int:
    """Send load and report. Exit code 1 when the generator could not keep its own schedule (the numbers are then not valid)."""
    from penstock.control.loadtest.bench import Plan, Said, Trace, script
    from penstock.control.loadtest.bench import bench as tested
    from penstock.control.loadtest.knee import parse_promise
    from penstock.control.loadtest.session import Options
    from penstock.control.loadtest.target import find_target
    from penstock.core.home import Home

    seconds = _seconds("--duration", duration or "10s")
    shapes = {"--rate": rate, "--step": step, "--ramp": ramp, "--spike": spike}
    kinds = {**shapes, "--concurrency": concurrency, "--trace": trace, "--find-knee": find_knee or None}
    if len(given := [name for name, value in kinds.items() if value is not None and (name, find_knee) != ("--rate", True)]) > 1:
        raise BadInput(f"{' and '.join(given)} are different loads", remedy="Give one of them.")
    plan = Plan(
        shape=None if concurrency or trace or find_knee else _shape(rate, step, ramp, spike, seconds),
        concurrency=concurrency,
        trace=Trace(trace, Home.find().cache, speedup, seconds if duration else None) if trace else None,
        promise=parse_promise(slo) if find_knee else None,
        first_rate=rate,
        most_rate=max_rate,
        stress=stress,
        seconds=seconds,
        said=Said(prompts, column, prompt_tokens, max_tokens, stream),
        options=Options(_arrivals(arrivals), seed, connections, _seconds("--timeout", timeout), _seconds("--warmup", warmup)),
    )
    found = find_target(target, key=key, route=route, model=model)
    if export is not None:
        return _exported(script(found, plan, export[0]), *export)
    with _progress() as tell:
        report = tested(found, plan, tell)
    if page is not None:
        from penstock.control.loadtest.page import page as drawn
        from penstock.core.files import write_atomic

        write_atomic(page, drawn(report).encode())
    here().show(report, lambda: _lines(report, page))
    return 0 if report.get("result", {}).get("generator", {"valid": True})["valid"] else 1


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Report of `penstock bench --json`.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Two reports side by side."""
    from penstock.control.loadtest.compare import compared, read_report

    found = compared(read_report(first), read_report(second))
    rows = [(r["name"], _figure(r["first"]), _figure(r["second"]), f"×{r['ratio']:.3g}" if r["ratio"] else "") for r in found["rows"]]
    here().show(found, lambda: table(("NUMBER", first.name, second.name, "RATIO"), rows))
    for what in found["unlike"]:
        here().note(f"The two tests differ in their {what}: compare with care.")
    for which in found["invalid"]:
        here().note(f"The {which} report is not valid: its generator fell behind.")


def _shape(rate: float | None, step: str | None, ramp: str | None, spike: str | None, seconds: float) -> Shape:
    from penstock.control.loadtest import arrivals as shapes

    if step is not None:
        return shapes.step(shapes.parse_rates(step, "--step", 1), seconds)
    if ramp is not None:
        start, end = shapes.parse_rates(ramp, "--ramp", 2, 2)
        return shapes.ramp(start, end, seconds)
    if spike is not None:
        base, peak = shapes.parse_rates(spike, "--spike", 2, 2)
        return shapes.spike(base, peak, seconds)
    return shapes.constant(10.0 if rate is None else rate, seconds)


def _arrivals(text: str) -> Any:
    return text


def _seconds(option: str, text: str) -> float:
    from penstock.core.units import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from error


def _exported(text: str, tool: str, file: Path) -> int:
    from penstock.core.files import write_atomic

    write_atomic(file, text.encode())
    how = f"PENSTOCK_KEY=… {'k6 run' if tool == 'k6' else 'locust --headless -f'} {file}"
    here().show({"tool": tool, "file": str(file), "run": how}, lambda: [f"wrote {file}; run it with: {how}"])
    return 0


@contextlib.contextmanager
def _progress() -> Iterator[Any]:
    """A line that is written over on a terminal; trials of a search stay."""
    if not here().lively:
        yield lambda _line: None
        return
    from rich.console import Console

    with Console(stderr=True).status("warming up") as status:
        yield lambda line: status.console.print(line) if "req/s" in line else status.update(line)


def _lines(report: dict[str, Any], page: Path | None) -> Iterator[str]:
    from penstock.control.loadtest.page import TRIAL_HEAD, describe, promise_words, recovery_words, trial_cells

    target = report["target"]
    yield f"{target['model']} at {target['url']}{target['path']}: {describe(report['load'])}"
    if knee := report.get("knee"):
        yield from table(TRIAL_HEAD, [trial_cells(trial) for trial in knee["trials"]])
        kept = f"{knee['max_rate']:.4g} requests/s" if knee["max_rate"] else "no rate that was tried"
        yield f"knee      {kept} keep{'s' if not knee['max_rate'] else ''} {promise_words(knee['promise'])}"
        if knee["turns_up_at"]:
            yield f"          latency turns up at about {knee['turns_up_at']:.4g} requests/s"
        if knee["limited_by"]:
            yield f"          the search ended: {knee['limited_by']}"
    if result := report.get("result"):
        yield from _result_lines(result)
    if stress := report.get("stress"):
        yield f"overload  {recovery_words(stress)}"
    if page is not None:
        yield f"page      {page}"


def _result_lines(result: dict[str, Any]) -> Iterator[str]:
    rates = f"{result['throughput_rps']:g}/s answered, {result['error_rate']:.2%} failed"
    yield f"requests  {result['requests']:,} in {result['seconds']:g} s, {rates}"
    columns = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
    rows = [
        (title, *(_figure(result[name].get(column)) for column in columns))
        for name, title in (("latency", "latency"), ("first_token", "first token"), ("inter_token", "between tokens"))
        if name in result
    ]
    yield from table(("ms", "p50", "p95", "p99", "max"), rows)
    for kind, count in result["errors"].items():
        yield f"error     {kind}: {count:,} ({result['first_messages'].get(kind, '')})"
    late = result["generator"]["lateness"]
    if late.get("count"):
        busy = f"{result['generator'].get('cpu_share', 0):.0%} of a core"
        yield f"generator sent at most {late.get('p99_ms', late['max_ms']):.2f} ms late (p99), {busy}"
    yield from (f"NOT VALID {reason}" for reason in result["generator"]["reasons"])


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
