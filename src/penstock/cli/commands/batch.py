"""`penstock batch`: a file of rows through a model version, answers into a file."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.completion import complete_model
from penstock.cli.dates import when
from penstock.cli.output import here, table
from penstock.core.errors import BadInput

if TYPE_CHECKING:
    from penstock.control.batch import Seen

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def batch() -> None:
    """Answer a file of rows by a model version, resumable; list and show batches."""


@app.command()
def run(
    model: Annotated[str, typer.Argument(help="MODEL, MODEL:VERSION, MODEL@ALIAS or deployment:NAME.", autocompletion=complete_model)],
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="JSONL, CSV, TSV or Parquet file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the answers go: .jsonl, .csv or .parquet.")],
    on: Annotated[str | None, typer.Option(metavar="NAME", help="Platform of the file that made the version; default: here.")] = None,
    vendor: Annotated[bool, typer.Option("--vendor", help="By the platform's own service for batches, not by a replica of ours.")] = False,
    instances: Annotated[int, typer.Option(min=1, help="Machines of that service.")] = 1,
    machine: Annotated[str | None, typer.Option(help="Their type; default: the platform's section, or the cheapest.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what --vendor would take and call; ask nobody.")] = False,
    text: Annotated[str | None, typer.Option(help="Column that is sent; default: text, prompt or input.")] = None,
    join: Annotated[bool, typer.Option("--join/--no-join", help="Keep the row's own columns beside the answer.")] = True,
    keep: Annotated[str, typer.Option(help="Columns to write, such as id,label; default: all.")] = "",
    prefix: Annotated[str, typer.Option(help="Put before the names of the answer's columns.")] = "",
    openai: Annotated[bool, typer.Option("--openai", help="OpenAI's batch format in and out (custom_id, url, body).")] = False,
    top_k: Annotated[int | None, typer.Option(min=1, help="Labels of a classifier to write (adds a column labels).")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens to generate (64).")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="Above 0 it needs --seed.")] = None,
    seed: Annotated[int | None, typer.Option(help="Each row is generated with this plus its number.")] = None,
    max_failures: Annotated[int | None, typer.Option(min=0, help="Rows that may fail before the batch does; default: any.")] = None,
    rows_per_request: Annotated[int, typer.Option(min=1, max=2048, help="Texts in a request (not when generating).")] = 32,
    max_payload: Annotated[str, typer.Option(help="Bytes of text in a request.")] = "1MiB",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 8,
) -> None:
    """Answer every row of a file. Run again after a kill, it goes on after its last finished part."""
    from dataclasses import asdict

    from penstock.control.batch import BatchOptions, quote
    from penstock.control.batch import batch as answered
    from penstock.core.units import size_bytes

    given = {"top_k": top_k, "max_tokens": max_tokens, "temperature": temperature}
    try:
        payload = size_bytes(max_payload)
    except ValueError as error:
        raise BadInput(f"--max-payload: {error}") from error
    options = BatchOptions(
        openai=openai,
        text=text,
        join=join,
        keep=[name.strip() for name in keep.split(",") if name.strip()],
        prefix=prefix,
        params={name: value for name, value in given.items() if value is not None},
        seed=seed,
        max_failures=max_failures,
        rows_per_request=rows_per_request,
        max_payload_bytes=payload,
        concurrency=concurrency,
        vendor=vendor,
        instances=instances,
        machine=machine,
    )
    if (instances != 1 or machine or dry_run) and not vendor:
        raise BadInput("--instances, --machine and --dry-run are of --vendor", remedy="Add --vendor, or leave them out.")
    taken = quote(model, on, options) if vendor else None
    if taken is not None:
        price = "price not known" if taken.usd_per_h is None else f"{taken.usd_per_h:.3f} USD an hour"
        price += f" (prices of {taken.prices_of})" if taken.prices_of else ""
        here().note(f"{taken.nodes} × {taken.machine}, {price}")
        if dry_run:
            here().show(asdict(taken), lambda: list(taken.calls))
            return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite end from outside is the same as Ctrl-C
    with _progress() as seen:
        result = answered(model, source, output, options=options, on=on, seen=seen)
    told = f"{result.rows:,} rows answered in {result.seconds:.1f} s, {result.failures:,} failed: {output}"
    here().show(asdict(result), lambda: [told])
    if result.failures:
        here().note(f"Why rows failed stands in {output.name}.failures.jsonl and in their column `{prefix}error`.")


@app.command("list")
def list_batches() -> None:
    """List batches, newest first."""
    from penstock.cli.state import has_state, opened
    from penstock.control.batch import batch_rows
    from penstock.core.home import Home

    found: list[dict[str, Any]] = []
    if has_state(Home.find()):
        with opened() as store:
            found = batch_rows(store)
    rows = [(r["id"], r["model"], r["phase"], r.get("rows", ""), r.get("failures", ""), when(r["created_at"])) for r in found]
    here().show({"batches": found}, lambda: table(("ID", "MODEL", "STATE", "ROWS", "FAILED", "BEGAN"), rows) if rows else ["no batches"])


@app.command()
def show(batch: Annotated[str, typer.Argument(help="Id, its beginning, or latest.")] = "latest") -> None:
    """Show one batch: what went in, what came out, why it failed."""
    from penstock.cli.state import opened
    from penstock.control.batch import find_batch

    with opened() as store:
        found = find_batch(store, batch)
    here().show(found, lambda: [f"{name:9} {_shown(value)}" for name, value in found.items()])


def _shown(value: Any) -> str:
    return str(value.get("message", value)) if isinstance(value, Mapping) else f"{value:,.3f}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def _progress() -> Iterator[Seen]:
    """A bar with rate and remaining time on a terminal; nothing elsewhere."""
    if not here().lively:
        yield lambda _progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    texts = (TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), TextColumn("{task.description}"))
    columns = (BarColumn(), MofNCompleteColumn(), *texts)
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None, rate="")

        def seen(progress: Mapping[str, Any]) -> None:
            failed = progress.get("facts", {}).get("failed", 0)
            bar.update(task, completed=progress["done"], total=progress["total"], description=f"{failed:.0f} failed" if failed else "")
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:,.0f} rows/s" if speed else "")

        yield seen
