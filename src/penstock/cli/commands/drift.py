"""`penstock drift NAME`: what drifted, by how much, what moved; `penstock drift compare A B` holds any two tables against each other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from typer.core import TyperGroup

from penstock.cli.completion import complete_deployment
from penstock.cli.curves import BARS
from penstock.cli.dates import when
from penstock.cli.output import here, table


class WithName(TyperGroup):
    """`drift NAME` is `drift show NAME`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = next((arg for arg in args if arg not in ("--json", "--debug")), "--help")
        return super().parse_args(ctx, args if first in (*self.commands, "--help", "-h") else ["show", *args])


app = typer.Typer(rich_markup_mode=None, cls=WithName)
WIDTH = 30


@app.callback()
def drift() -> None:
    """Show the drift of a deployment and what moved; or compare two tables."""


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)],
    since: Annotated[str | None, typer.Option(help="Only the last so long, such as 6h or 7d.")] = None,
    version: Annotated[str, typer.Option(help="Of this version; default: the one with most requests.")] = "",
) -> None:
    """Show each drift signal against its limit, its course, and what moved in the last window."""
    from penstock.control.drift.story import drift_story

    found = drift_story(name, _moment(since), version)
    here().show(found, lambda: _lines(found))


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="CSV, JSONL or Parquet file, or a dataset (sha256:…, sha256:…#test).")],
    second: Annotated[str, typer.Argument(metavar="B", help="The same, later.")],
    columns: Annotated[str | None, typer.Option(help="Only these columns: a,b.")] = None,
    false_alarms: Annotated[float, typer.Option(min=1e-6, max=0.5, help="Chance that any column shows drift when there is none.")] = 0.01,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML page.")] = None,
) -> None:
    """Compare two tables column by column: numbers, categories, and texts by their words, lengths and languages."""
    from penstock.control.drift.compare import compare as compared
    from penstock.control.drift.page import page
    from penstock.core.files import write_atomic
    from penstock.core.home import Home
    from penstock.store.store import Store

    asked = [part.strip() for part in columns.split(",")] if columns else []
    store = Store.open(Home.find()) if any(source.startswith("sha256:") for source in (first, second)) else None
    try:
        report = compared(first, second, store, false_alarms=false_alarms, columns=asked)
    finally:
        if store is not None:
            store.close()
    if html is not None:
        write_atomic(html, page(report).encode())
        report = {**report, "html": str(html)}
    here().show(report, lambda: _compared(report))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    if not found["signals"]:
        yield "no drift signals" if found["declared"] else "no drift signals: nothing is declared under monitor.drift"
        return
    rows = [
        (
            row["name"],
            "OVER" if row["over"] else "ok",
            f"{row['value']:.3g}",
            "-" if row["limit"] is None else f"{row['limit']:.3g}",
            f"{row['windows_over']} of {row['windows']}",
            _course([ratio for _, ratio in row["course"]]),
            when(row["at"]),
        )
        for row in found["signals"]
    ]
    yield from table(("SIGNAL", "", "VALUE", "LIMIT", "OVER", "COURSE", "AT"), rows)
    for row in found["signals"]:
        told = row["evidence"]
        if "of" not in told and (row["over"] or "severity" in told):
            yield ""
            how = told.get("severity", "over") if row["over"] else "near its limit"
            yield f"{row['name']}: {how}, {row['value']:.3g} against {row['limit']:.3g}"
            yield from (f"  {line}" for line in moved_lines(row["evidence"]))


def moved_lines(evidence: Mapping[str, Any]) -> Iterator[str]:
    """What moved, in words."""
    for key, title, named in (("words", "words", "word"), ("vanished", "gone", "word"), ("values", "values", "value")):
        if evidence.get(key):
            yield f"{title}: {', '.join(_changed(one[named], one) for one in evidence[key])}"
    for topic in evidence.get("topics", ()):
        scattered = "far from everything" if topic.get("scattered") else "topic"
        yield f"{_changed(f'{scattered}: ' + ' '.join(topic['words']), topic)}, such as {', '.join(topic['examples'])}"
    if grew := evidence.get("grew"):
        low, high = grew["range"]
        yield _changed(f"above {low:g}:" if high is None else f"up to {high:g}:", grew)
    if evidence.get("found"):
        yield f"{' and '.join(evidence['found'])}: {evidence['share']:.1%} of the last answers were wrong"
    for slice_ in evidence.get("slices", ()):
        yield f"most in {slice_['field']}={slice_['value']}: {slice_['strange']:.0%} of its requests, {slice_['elsewhere']:.0%} elsewhere"
    if evidence.get("examples"):
        yield f"requests: {', '.join(map(str, evidence['examples']))}"
    if "sampled" in evidence:
        yield f"looked at {evidence['sampled']:.0%} of {evidence['requests']} requests"


def _changed(what: object, shares: Mapping[str, Any]) -> str:
    return f"{what} {shares['was']:.1%} → {shares['share']:.1%}"


def _course(ratios: list[float]) -> str:
    """Values against the limit: the bar at half height is the limit, a full one twice it."""
    shown = ratios[-WIDTH:]
    return "".join(BARS[max(0, min(len(BARS) - 1, int(ratio / 2 * len(BARS))))] for ratio in shown)


def _compared(report: Mapping[str, Any]) -> Iterator[str]:
    heads = ("COLUMN", "AS", "BY", "DISTANCE", "CHANCE", "VERDICT")
    rows = [
        (
            f"{row['column']}: {row['what']}" if row["what"] else row["column"],
            row["kind"],
            row["detector"],
            f"{row['value']:.4f}",
            f"{row['chance']:.4f}",
            row["verdict"],
        )
        for row in report["columns"]
    ]
    yield from table(heads, rows)
    for row in report["columns"]:
        if row["verdict"] == "drifted":
            yield from (f"{row['column']}: {line}" for line in moved_lines(row["moved"]))
    yield f"{report['drifted']} of {report['compared']} drifted"
    if "html" in report:
        yield f"written to {report['html']}"


def _moment(since: str | None) -> float:
    """Seconds since the epoch. Raises BadInput."""
    from penstock.core.errors import BadInput
    from penstock.core.units import seconds

    if since is None:
        return 0.0
    try:
        return time.time() - seconds(since)
    except ValueError as error:
        raise BadInput(f"--since: {error}") from None
