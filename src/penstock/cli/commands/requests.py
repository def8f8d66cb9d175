"""`penstock requests`: what the gateway recorded of requests."""

from __future__ import annotations

import math
import time
from typing import Annotated, Any

import typer

from penstock.cli.dates import when
from penstock.cli.output import here, table

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
Since = Annotated[str | None, typer.Option(help="Only the last so long, such as 30m or 2d.")]
Model = Annotated[str | None, typer.Option(help="Only of this model.")]
Version = Annotated[str | None, typer.Option(help="Only of this version.")]
Key = Annotated[str | None, typer.Option(help="Only of this gateway key, by id.")]
_HEADS = (
    "GROUP",
    "REQUESTS",
    "ERRORS",
    "/S",
    "P50",
    "P95",
    "P99",
    "FIRST P50",
    "FIRST P95",
    "TOKENS IN",
    "OUT",
    "OUT/S",
    "USD",
    "WH",
    "SCORE",
)


@app.callback()
def requests(ctx: typer.Context) -> None:
    """List recorded requests; show one; KPIs by version (alone: list)."""
    if ctx.invoked_subcommand is None:
        list_requests()


@app.command()
def forget(
    subject: Annotated[str, typer.Argument(help="A request's id, or a session, speaker or key as records name it.")],
    reason: Annotated[str | None, typer.Option(help="Kept with the mark, in the audit log too.")] = None,
) -> None:
    """Never learn from SUBJECT's requests again. What is recorded and trained already stays as it is."""
    from penstock.control.delivery import opened_world
    from penstock.control.erasure import mark
    from penstock.control.world import principal

    with opened_world() as world:
        row = mark(world, subject, principal=principal(), reason=reason)
    here().show({"subject": subject, "id": row.id}, lambda: [f"{subject} is left out of all retraining from now on"])


@app.command("list")
def list_requests(
    model: Model = None,
    version: Version = None,
    key: Key = None,
    status: Annotated[int | None, typer.Option(help="Only answered with this status.")] = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
) -> None:
    """List requests, newest first."""
    from penstock.core.home import Home
    from penstock.serving.history import Wanted, newest

    wanted = Wanted(_moment(since), fields=_fields(model=model, version=version, key=key, status=status))
    found = newest(Home.find().gateway / "records", wanted, limit)
    heads = ("AT", "ID", "MODEL", "ROUTE", "STATUS", "TOOK", "TOKENS")
    rows = [(when(r["ts"]), r["id"], _served(r), r["route"], r["status"], _took(r), _tokens(r)) for r in found]
    here().show({"requests": found}, lambda: table(heads, rows) if rows else ["no requests"])


@app.command()
def show(request: Annotated[str, typer.Argument(help="Request id (x-request-id of the answer).")]) -> None:
    """Show every record of a request: itself, and the copies that a shadow version got."""
    from penstock.core.errors import NotFound
    from penstock.core.home import Home
    from penstock.serving.history import with_id

    found = with_id(Home.find().gateway / "records", request)
    if not found:
        raise NotFound(f"no request is recorded under {request!r}", remedy="`penstock requests list`; records are written within a second.")
    here().show({"records": found}, lambda: [line for record in found for line in _lines(record)])


@app.command()
def stats(
    by: Annotated[str, typer.Option(help="version, model, key, route, replica, status, adapter, experiment; several: a,b.")] = "version",
    model: Model = None,
    version: Version = None,
    key: Key = None,
    since: Since = None,
) -> None:
    """KPIs by version or something else: times, errors, tokens, cost, energy."""
    from penstock.core.home import Home
    from penstock.serving.history import Wanted, kpis

    groups = ["model", "version"] if by == "version" else [name.strip() for name in by.split(",")]
    wanted = Wanted(_moment(since), fields=_fields(model=model, version=version, key=key))
    found = kpis(Home.find().gateway, wanted, groups)
    here().show(
        {"by": groups, "groups": found}, lambda: table(_HEADS, [_row(group, groups) for group in found]) if found else ["no requests"]
    )


def _row(group: dict[str, Any], by: list[str]) -> tuple[str, ...]:
    name = " ".join(str(group[each]) if group[each] is not None else "-" for each in by) + (" (shadow)" if group["shadow"] else "")
    whole = [f"{group['requests']}", f"{group['errors']}"]
    figures = [_figure(group[each]) for each in ("requests_per_s", "p50_ms", "p95_ms", "p99_ms", "first_p50_ms", "first_p95_ms")]
    tokens = [f"{group['prompt_tokens']}", f"{group['completion_tokens']}", _figure(group["tokens_per_s"])]
    score = f"{group['score']:+.2f} of {group['rated']}" if group["rated"] else "-"
    return (name, *whole, *figures, *tokens, f"{group['cost_usd']:.4f}", f"{group['energy_wh']:.3f}", score)


def _took(record: dict[str, Any]) -> str:
    """Nobody knows it of a request that went past the gateway."""
    return f"{record['total_ms']:.1f} ms" if record["total_ms"] else "-"


def _figure(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.1f}"


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


def _fields(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _served(record: dict[str, Any]) -> str:
    return f"{record['model'] or '-'} {record['version'] or ''}".strip()


def _tokens(record: dict[str, Any]) -> str:
    return f"{record['prompt_tokens']} + {record['completion_tokens']}" if record["prompt_tokens"] else "-"


def _lines(record: dict[str, Any]) -> list[str]:
    shown = {name: value for name, value in record.items() if value not in (None, [], False, "") and name != "ts"}
    width = max(len(name) for name in shown)
    return [f"{'at'.ljust(width)}  {when(record['ts'])}", *(f"{name.ljust(width)}  {value}" for name, value in shown.items()), ""]
