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


@app.command()
def experiment(
    name: Name,
    challenger: Annotated[str, typer.Option(help=_VERSION)] = "challenger",
    share: Annotated[str, typer.Option(help="Share of requests that the challenger gets.")] = "50%",
    metric: Annotated[str, typer.Option(help="reward (feedback), success or latency.")] = "reward",
    confidence: Annotated[float, typer.Option(help="Of the verdict, however often it is looked at.")] = 0.95,
    stop_after: Annotated[int | None, typer.Option(help="Requests of both after which it ends undecided.")] = None,
    then: Annotated[str, typer.Option(help="report, or switch all traffic to the better one.")] = "report",
) -> None:
    """Split requests between the version that serves and a challenger until a sequential test says which is better."""
    from penstock.control.steering import begin_experiment, version_of
    from penstock.spec.deploy import Experiment

    wish = {"challenger": version_of(challenger), "share": share, "metric": metric, "confidence": confidence}
    _told(begin_experiment(name, _wish(Experiment, {**wish, "stop_after": stop_after, "then": then})))


@app.command()
def bandit(
    name: Name,
    versions: Annotated[list[str], typer.Argument(help="Versions, two or more: numbers or aliases.")],
    explore: Annotated[str, typer.Option(help="Share of requests below which no version falls.")] = "5%",
    every: Annotated[str, typer.Option(help="Time between changes of the split.")] = "1m",
    metric: Annotated[str, typer.Option(help="reward (feedback), success or latency.")] = "reward",
    half_life: Annotated[str, typer.Option(help="Time after which what was seen counts half.")] = "1d",
) -> None:
    """Move requests to the version that earns most, by Thompson sampling, for as long as nobody sets the traffic."""
    from penstock.control.steering import begin_bandit, version_of
    from penstock.spec.deploy import Bandit

    wish = {"versions": [version_of(v) for v in versions], "explore": explore, "every": every, "metric": metric, "half_life": half_life}
    _told(begin_bandit(name, _wish(Bandit, wish)))


def _wish(kind: Any, values: dict[str, Any]) -> Any:
    """A section of the file made from options. Raises BadInput naming the option."""
    from pydantic import ValidationError

    from penstock.core.errors import BadInput

    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-") if first["loc"] else "options"
        raise BadInput(f"{option}: {first['msg']}") from error


def _told(found: dict[str, Any]) -> None:
    here().show(found, lambda: list(_lines(found)))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['deployment']}: {found['model']} {found['phase']}" + (f", moved by {found['moved_by']}" if found["moved_by"] else "")
    heads = ("VERSION", "SHARE", "WANTED", "REQUESTS", "FAILED", "MEDIAN")
    cells = [(v["version"], _percent(v["share"]), _percent(v["wanted"]), v["requests"], v["failed"], _ms(v)) for v in found["versions"]]
    yield from (f"  {line}" for line in table(heads, cells))
    for rule in found["headers"]:
        yield f"  {rule['header']}: {rule['value']} goes to version {rule['version']}"
    if found["shadow"]:
        yield from _shadow_lines(found["shadow"])
    if found["mover"]:
        yield from _mover_lines(found["mover"])
    if found["before"]:
        yield "  before: " + ", ".join(f"version {row['version']} {_percent(row['share'])}" for row in found["before"])
    for note in found["notes"]:
        yield f"  note: {note}"
    if found["error"]:
        yield f"  error: {found['error']}"


def _shadow_lines(shadow: dict[str, Any]) -> Iterator[str]:
    yield f"  a copy of {_percent(shadow['sample'])} goes to version {shadow['version']}"
    if shadow.get("pairs"):
        same = f"{shadow['same_status']} of {shadow['pairs']} copies ended with the same status, {shadow['shadow_failed']} failed alone"
        text = f", {shadow['same_text']} of {shadow['captured']} said the same" if shadow["captured"] else ""
        slower = f", {shadow['slower']:g} times as long" if shadow["slower"] is not None else ""
        yield f"    {same}, {shadow['same_tokens']} with as many tokens{text}{slower}"


def _mover_lines(mover: dict[str, Any]) -> Iterator[str]:
    wish, found = mover["wish"], mover["found"]
    yield f"  {mover['kind']} by {wish['metric']}: {mover['phase']}" + (f" ({found['reason']})" if found.get("reason") else "")
    if found.get("requests"):
        counts = ", ".join(f"version {v}: {n} requests, {found['outcomes'][v]} outcomes" for v, n in sorted(found["requests"].items()))
        yield f"    {counts}"
    reading = found.get("reading")
    if reading and reading["effect"] is not None:
        if "ratio" in reading:
            best, low, high = reading["ratio"]
            yield f"    challenger takes {best:.3g} times as long ({low:.3g} to {high:.3g}): {reading['verdict']}"
        else:
            yield f"    challenger {reading['effect']:+.3f} ({reading['low']:+.3f} to {reading['high']:+.3f}): {reading['verdict']}"
    if found.get("ratio", {}).get("mismatch"):
        observed, p = _percent(found["ratio"]["observed"]), found["ratio"]["p"]
        yield f"    shares are not as wanted (the challenger got {observed}, p {p:.1g}): do not trust the verdict"
    for version, chance in sorted(found.get("best", {}).items()):
        mean = found["means"][version]
        yield f"    version {version}: mean {'-' if mean is None else f'{mean:.4g}'}, best with probability {chance:.2f}"


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"


def _ms(row: dict[str, Any]) -> str:
    return "-" if row["median_ms"] is None else f"{row['median_ms']:.4g} ms"
