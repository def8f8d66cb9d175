"""`penstock alerts`: what fires, why, who was told; taking one, silencing some, trying a receiver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from penstock.cli.completion import complete_alert, complete_deployment, complete_silence
from penstock.cli.dates import when
from penstock.cli.output import here, table

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
Alert = Annotated[str, typer.Argument(help="Id of an alert, its beginning, or the rule's name.", autocompletion=complete_alert)]


@app.callback()
def alerts(ctx: typer.Context) -> None:
    """List what fires; show one, take one, silence some, try a receiver (alone: list)."""
    if ctx.invoked_subcommand is None:
        list_alerts()


@app.command("list")
def list_alerts(
    deployment: Annotated[str | None, typer.Option(help="Only of this deployment.", autocompletion=complete_deployment)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
) -> None:
    """List alerts that fire, conditions that may soon, and silences."""
    from penstock.cli.state import has_state
    from penstock.core.home import Home

    found: dict[str, Any] = {"alerts": [], "pending": [], "silences": []}
    if has_state(Home.find()):
        from penstock.control.alerts.orders import list_alerts as listed

        found = listed(deployment, everything=everything, limit=limit)
    here().show(found, lambda: list(_lines(found)))


@app.command()
def show(alert: Alert) -> None:
    """Show an alert: what was measured, likely causes, who was told and when."""
    from penstock.control.alerts.orders import show_alert

    found = show_alert(alert)
    here().show(found, lambda: list(_story(found)))


@app.command()
def ack(alert: Alert, note: Annotated[str | None, typer.Option(help="What others should know.")] = None) -> None:
    """Say that you have taken an alert: it is not repeated; that it is over is still told."""
    from penstock.control.alerts.orders import ack_alert

    found = ack_alert(alert, note)
    here().show(found, lambda: [f"{found['id']} is yours: {found['message']}"])


@app.command()
def resolve(alert: Alert, note: Annotated[str | None, typer.Option(help="What others should know.")] = None) -> None:
    """Say that an alert is over which a reaction or a person raised; those of rules end by themselves."""
    from penstock.control.alerts.orders import resolve as resolved

    found = resolved(alert, note)
    here().show(found, lambda: [f"{found['id']} is over: {found['why']}"])


@app.command()
def silence(
    matchers: Annotated[list[str], typer.Argument(help="LABEL=VALUE or LABEL!=VALUE; * in a value stands for anything.")],
    for_: Annotated[str, typer.Option("--for", help="How long, such as 2h.")],
    why: Annotated[str, typer.Option(help="What others should know.")],
) -> None:
    """Tell nobody of alerts with these labels: deployment, alert, severity, signal, version, slice."""
    from penstock.control.alerts.orders import silence_alerts
    from penstock.core.errors import BadInput
    from penstock.core.units import seconds

    try:
        length = seconds(for_)
    except ValueError as error:
        raise BadInput(f"--for: {error}") from None
    found = silence_alerts(matchers, length, why)
    now = f", {len(found['alerts'])} of which fire now" if found["alerts"] else ""
    here().show(found, lambda: [f"{found['silence']} until {when(found['until'])}: {' '.join(found['matchers'])}{now}"])


@app.command()
def unsilence(silence: Annotated[str, typer.Argument(help="Id of a silence, or its beginning.", autocompletion=complete_silence)]) -> None:
    """End a silence; what fires is told again."""
    from penstock.control.alerts.orders import end_silence

    found = end_silence(silence)
    here().show(found, lambda: [f"{found['silence']} is over: {' '.join(found['matchers'])}"])


@app.command("test")
def try_receivers(
    deployment: Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)],
    receiver: Annotated[str | None, typer.Argument(help="Name under notify.receivers; none: all.")] = None,
) -> None:
    """Send a message that is marked as a test, and say whether each receiver took it."""
    from penstock.control.alerts.orders import send_test
    from penstock.core.errors import NotDelivered

    found = send_test(deployment, receiver)
    here().show(found, lambda: [f"{one['name']}: {one['error'] or 'taken'}" for one in found["receivers"]])
    if failed := [one["name"] for one in found["receivers"] if one["error"]]:
        raise NotDelivered(f"{', '.join(failed)} did not take it")


def _lines(found: dict[str, Any]) -> Iterator[str]:
    heads = ("ALERT", "SEVERITY", "DEPLOYMENT", "RULE", "SINCE", "STATE", "WHAT")
    rows = [(a["id"], a["severity"], a["deployment"], a["alert"], when(a["fired_at"]), _state(a), a["message"]) for a in found["alerts"]]
    yield from table(heads, rows) if rows else ["nothing fires"]
    for one in found["pending"]:
        part = ", ".join(text for text in (f"version {one['version']}" if one["version"] else "", one["slice"]) if text)
        yield f"pending since {when(one['since'])}: {one['deployment']}: {one['rule']}{f' ({part})' if part else ''}"
    for one in found["silences"]:
        yield f"silent until {when(one['until'])}: {' '.join(one['matchers'])} ({one['silence']}, {one['who']}: {one['why']})"


def _state(alert: dict[str, Any]) -> str:
    if alert["phase"] != "firing":
        return f"over {when(alert['resolved_at'])}"
    if alert.get("withheld"):
        return str(alert["withheld"]["kind"])
    return f"taken by {alert['acked']['by']}" if alert["acked"] else "fires"


def _story(found: dict[str, Any]) -> Iterator[str]:
    from penstock.control.alerts.messages import evidence_lines

    alert = found["alert"]
    yield f"{alert['id']}  {alert['severity']}  {alert['deployment']}: {alert['alert']}"
    yield f"  {alert['message']}"
    if alert["condition"]:
        yield f"  when {alert['condition']}"
    yield f"  fires since {when(alert['fired_at'])}" + (f", over since {when(alert['resolved_at'])}" if alert["resolved_at"] else "")
    yield from (f"  {line}" for line in evidence_lines(alert))
    causes = alert["causes"] or {"causes": (), "note": ""}
    yield from (f"  cause: {cause['text']}" for cause in causes["causes"])
    if causes["note"]:
        yield f"  cause: {causes['note']}"
    for event in found["events"]:
        yield f"  {when(event['at'])}  {event['type']}: {event['message']}"
