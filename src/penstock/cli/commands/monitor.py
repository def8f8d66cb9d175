"""`penstock monitor`: a deployment as it is now, redrawn on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.output import here

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from penstock.control.watch.board import Board

app = typer.Typer(rich_markup_mode=None)
PLAIN = 200  # columns where there is no terminal


@app.command()
def monitor(
    deployment: Annotated[
        str | None, typer.Argument(help="Deployment name; without it, all of them.", autocompletion=complete_deployment)
    ] = None,
    since: Annotated[str, typer.Option(help="How far back the series go.")] = "1h",
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between drawings.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Draw once and end.")] = False,
) -> None:
    """Watch a deployment live: figures by version, series, the machine, drift, alerts."""
    from penstock.cli.board import draw, overview
    from penstock.cli.commands.signals import seconds_back
    from penstock.cli.state import opened
    from penstock.control.watch.board import board_of, watched_row, watched_rows
    from penstock.core.home import Home

    back, home = seconds_back(since), Home.find()
    with opened() as store:

        def look() -> list[Board]:
            rows = [watched_row(store, deployment)] if deployment is not None else watched_rows(store)
            return [board_of(store, home, row, time.time(), back) for row in rows]

        def drawing(width: int) -> RenderableType:
            boards = look()
            if not boards:
                return "no deployments"
            return draw(boards[0], since, width) if deployment is not None or len(boards) == 1 else overview(boards, width)

        console = here().console()
        if here().json:
            here().show({"deployments": [board.as_json() for board in look()]}, lambda: ())
        elif once or not here().lively:
            console.width = console.width if here().lively else PLAIN
            console.print(drawing(console.width), soft_wrap=False)
        else:
            _live(drawing, every, console)


def _live(drawing: Callable[[int], RenderableType], every: float, console: Console) -> None:
    """Until the keyboard says stop, which is how it is meant to end."""
    from rich.live import Live

    with Live(drawing(console.width), console=console, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every)
                live.update(drawing(console.width), refresh=True)
        except KeyboardInterrupt:
            return
