"""`penstock traffic`: which version gets which requests, by share, by header, as a shadow; and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.output import here, table

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)]
_VERSION = "Number, champion, challenger or previous."


@app.callback()
def traffic() -> None:
    """Show and change which version gets which requests."""


@app.command()
def show(name: Name) -> None:
    """Show shares, header rules, the shadow, and what an experiment or bandit found."""
    from penstock.control.steering import traffic_story

    _told(traffic_story(name))


@app.command("set")
def set_(name: Name, shares: Annotated[list[str], typer.Argument(help="VERSION=PERCENT, such as 3=90 4=10.")]) -> None:
    """Split requests between versions; each is made ready before it gets any, and no request is lost."""
    from penstock.control.steering import change_split, shares_of

    _told(change_split(name, shares_of(shares)))


@app.command()
def undo(name: Name) -> None:
    """Go back to the split before the last change; an experiment or bandit counts as one change."""
    from penstock.control.steering import undo_split

    _told(undo_split(name))


@app.command()
def shadow(
    name: Name,
    version: Annotated[str | None, typer.Argument(help=_VERSION)] = None,
    sample: Annotated[str, typer.Option(help="Share of requests that are copied, such as 10%.")] = "100%",
    off: Annotated[bool, typer.Option("--off", help="Send no copies any more.")] = False,
) -> None:
    """Send copies of requests to VERSION; its answers are recorded, never seen by clients, and never waited for."""
    from penstock.control.steering import change_shadow, version_of
    from penstock.core.errors import BadInput
    from penstock.core.units import fraction
    from penstock.spec.deploy import Shadow

    if (version is None) != off:
        raise BadInput("name the version that gets copies, or say --off")
    try:
        share = fraction(sample)
    except ValueError as error:
        raise BadInput(str(error)) from error
    if not 0 < share <= 1:
        raise BadInput(f"--sample {sample} is not above 0 and at most 100%")
    _told(change_shadow(name, None if version is None else Shadow(version=version_of(version), sample=share)))


@app.command()
def header(
    name: Name,
    rule: Annotated[str, typer.Argument(help="HEADER=VALUE, such as x-beta=1.")],
    version: Annotated[str | None, typer.Argument(help=_VERSION)] = None,
    off: Annotated[bool, typer.Option("--off", help="Take the rule away.")] = False,
) -> None:
    """Send requests that have this header to VERSION, whatever the shares."""
    from penstock.control.steering import change_header, header_of, version_of
    from penstock.core.errors import BadInput

    if (version is None) != off:
        raise BadInput("name the version that the header leads to, or say --off")
    _told(change_header(name, *header_of(rule), None if version is None else version_of(version)))


def _told(found: dict[str, Any]) -> None:
    here().show(found, lambda: list(_lines(found)))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['deployment']}: {found['model']} {found['phase']}" + (f", moved by {found['moved_by']}" if found["moved_by"] else "")
    rows = [(v["version"], _percent(v["share"]), _percent(v["wanted"])) for v in found["versions"]]
    yield from (f"  {line}" for line in table(("VERSION", "SHARE", "WANTED"), rows))
    for rule in found["headers"]:
        yield f"  {rule['header']}: {rule['value']} goes to version {rule['version']}"
    if found["shadow"]:
        yield f"  a copy of {_percent(found['shadow']['sample'])} goes to version {found['shadow']['version']}"
    if found["before"]:
        yield "  before: " + ", ".join(f"version {row['version']} {_percent(row['share'])}" for row in found["before"])
    for note in found["notes"]:
        yield f"  note: {note}"
    if found["error"]:
        yield f"  error: {found['error']}"


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"
