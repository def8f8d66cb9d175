"""`penstock explain`: why a signal changed: the parts of the traffic that it comes from, ranked, with numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.dates import when
from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def explain(
    deployment: Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)],
    signal: Annotated[str | None, typer.Option(help="Such as error_rate, latency.p95_ms or drift; default: what fires.")] = None,
    since: Annotated[str | None, typer.Option(help="The time to explain, such as 30m; default: since the alert began, or 30m.")] = None,
    before: Annotated[str | None, typer.Option(help="The time before that; default: four times as long, at least 1h.")] = None,
) -> None:
    """Say which version, replica, key, input or other part a change comes from, and how much of it."""
    from penstock.control.alerts.orders import explain_signal

    found = explain_signal(deployment, signal, _seconds("--since", since), _seconds("--before", before))
    here().show(found, lambda: list(_lines(found)))


def _seconds(option: str, text: str | None) -> float | None:
    from penstock.core.errors import BadInput
    from penstock.core.units import seconds

    try:
        return None if text is None else seconds(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def _lines(found: dict[str, Any]) -> Iterator[str]:
    before, during = found["before"], found["during"]
    yield f"{found['deployment']}: {found['signal']}" + (f", about {found['alert']}" if found["alert"] else "")
    value = found["value"]
    for name, span, one in (("before", before, "before"), ("during", during, "during")):
        shown = f", {_figure(value[one])}" if value and value[one] is not None else ""
        yield f"  {name}  {when(span['since'])} to {when(span['until'])}: {span['requests']} requests{shown}"
    if found["limit"] is not None:
        yield f"  (the share of requests above {found['limit']:.4g} ms)"
    for number, cause in enumerate(found["causes"], 1):
        yield f"{number}. {cause['text']}"
        if cause.get("errors"):
            yield "   errors: " + ", ".join(f"{code} {count}" for code, count in cause["errors"].items())
    if found["note"]:
        yield found["note"]
    if found["spent"]:
        parts = [f"{name.replace('_', ' ')} {_ms(b)} → {_ms(d)}" for name, (b, d) in found["spent"].items()]
        yield f"mean time: {', '.join(parts)}"


def _figure(value: float) -> str:
    return f"{value:.4g}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms"
