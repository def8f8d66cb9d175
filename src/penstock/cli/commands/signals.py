"""`penstock signals`: what is measured of a deployment, the latest of each signal or one over time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.dates import when
from penstock.cli.output import here, table

if TYPE_CHECKING:
    from penstock.control.watch.board import Line
    from penstock.store.signals import Signal

app = typer.Typer(rich_markup_mode=None)


@app.command()
def signals(
    deployment: Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)],
    name: Annotated[str | None, typer.Option(help="One signal over time, such as error_rate.")] = None,
    version: Annotated[str | None, typer.Option(help="Of this version; without it, of the whole deployment.")] = None,
    slice: Annotated[str | None, typer.Option(help="Of this slice, such as channel=web.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Of every version and slice.")] = False,
    since: Annotated[str, typer.Option(help="How far back, such as 1h or 30d.")] = "1h",
) -> None:
    """Show what is measured of DEPLOYMENT: the latest of each signal, or one of them over time."""
    from penstock.cli.state import opened
    from penstock.control.watch.board import history, lines_of, watched_row
    from penstock.core.home import Home

    now, back = time.time(), seconds_back(since)

    def wanted(signal: Signal) -> bool:
        return every or ((version or "") == signal.version and (slice or "") == signal.slice)

    with opened() as store:
        watched_row(store, deployment)
        if name is None:
            found = [signal for signal in store.signals.read(deployment, since=now - back, until=now) if wanted(signal)]
            lines = lines_of(found)
            data: dict[str, Any] = {"deployment": deployment, "signals": [line.as_json() for line in lines]}
            here().show(data, lambda: _latest(lines, since))
            return
        rows = [signal for signal in history(store, Home.find(), deployment, name, now - back, now) if wanted(signal)]
        if not rows:
            _check_name(name, {signal.name for signal in store.signals.latest(deployment)})
        data = {"deployment": deployment, "name": name, "values": [_json(signal) for signal in rows]}
        here().show(data, lambda: _history(rows, name, since))


def _latest(lines: Sequence[Line], since: str) -> Iterator[str]:
    from penstock.cli.figures import interval, signal_figure
    from penstock.cli.sparkline import sparkline

    if not lines:
        yield f"no signals in the last {since}: is the background process up? (penstock status)"
        return
    cells = []
    for line in lines:
        s = line.signal
        limit = f"{s.limit:.3g}{' over' if s.over else ''}" if s.limit is not None else ""
        figures = (signal_figure(s.name, s.value), interval(s), f"{s.count:g}", limit)
        cells.append((s.name, _of(s), *figures, when(s.at), sparkline(line.values)))
    yield from table(("SIGNAL", "OF", "VALUE", "BETWEEN", "ON", "LIMIT", "AT", f"LAST {since}"), cells)


def _history(rows: Sequence[Signal], name: str, since: str) -> Iterator[str]:
    from penstock.cli.figures import interval, signal_figure
    from penstock.cli.sparkline import sparkline

    if not rows:
        yield f"no {name} in the last {since}"
        return
    cells = [(when(s.at), _of(s), signal_figure(name, s.value), interval(s), f"{s.count:g}") for s in rows]
    yield from table(("AT", "OF", name.upper(), "BETWEEN", "ON"), cells)
    if len({(s.version, s.slice) for s in rows}) == 1:
        yield sparkline([s.value for s in rows], 60)


def _of(signal: Signal) -> str:
    return " ".join([*([f"version {signal.version}"] if signal.version else []), *([signal.slice] if signal.slice else [])]) or "all"


def _json(signal: Signal) -> dict[str, Any]:
    return {name: getattr(signal, name) for name in signal.__slots__ if name not in ("deployment", "name", "evidence")} | {
        "evidence": dict(signal.evidence)
    }


def _check_name(name: str, there: set[str]) -> None:
    """Raises NotFound with the nearest name, where nothing is called so."""
    import difflib

    from penstock.core.errors import NotFound
    from penstock.spec.signals import ALWAYS, OF_CLASSES

    known = {*there, *ALWAYS, *OF_CLASSES}
    if name not in known and not name.startswith(("drift", "anomaly")):
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise NotFound(f"no signal is called {name!r}{hint}", remedy="List those that there are with `penstock signals DEPLOYMENT`.")


def seconds_back(since: str) -> float:
    """Raises BadInput."""
    from penstock.core.errors import BadInput
    from penstock.core.units import seconds

    try:
        return seconds(since)
    except ValueError as error:
        raise BadInput(f"--since: {error}") from None
