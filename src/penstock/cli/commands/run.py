"""`penstock run FILE`: build what is not built, judge, register, deploy."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.figures import headline
from penstock.cli.output import here

if TYPE_CHECKING:
    from penstock.cli.live import LiveTree
    from penstock.control.api import RunResult
    from penstock.control.views import RunView
    from penstock.store.resources import Resource

app = typer.Typer(rich_markup_mode=None)

SHOW_EVERY_S = 0.1
EXIT_CODES = {"succeeded": 0, "failed": 1, "refused": 3, "rolled_back": 5, "cancelled": 130, "interrupted": 130}


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="The pipeline file.")] = Path("penstock.yaml"),
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value of the file.")] = None,
    on: Annotated[str | None, typer.Option(metavar="NAME", help="Platform of the file that runs steps and serves.")] = None,
    no_deploy: Annotated[bool, typer.Option("--no-deploy", help="Stop after the gates.")] = False,
) -> int:
    """Run a pipeline: build what is not built, judge it by its gates, register the model, deploy it."""
    from dataclasses import asdict

    from penstock.cli.live import LiveTree
    from penstock.control.api import run as drive
    from penstock.control.show import view_of

    # A polite end from outside is the same as Ctrl-C: running steps save and the run can be taken up again.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    output = here()
    if output.json:
        result = drive(file, overrides=sets or (), on=on, deploy=not no_deploy)
    else:
        with LiveTree(output.console()) as tree:
            shown = _seldom(lambda resource: _draw(tree, view_of(resource)))
            result = drive(file, overrides=sets or (), on=on, deploy=not no_deploy, seen=shown)
    output.show(asdict(result), lambda: _lines(result))
    return exit_code(result)


def _draw(tree: LiveTree, view: RunView) -> None:
    tree.update(view)
    if view.phase == "interrupted":
        here().note("stopping: running steps have 10 s to save; Ctrl-C again ends them at once")


def _seldom(show: Callable[[Resource], None]) -> Callable[[Resource], None]:
    """Ten times a second is enough for an eye, and the last state is always shown: short steps must not wait for their drawing."""
    shown = {"at": 0.0}

    def maybe(resource: Resource) -> None:
        now = time.monotonic()
        if now - shown["at"] >= SHOW_EVERY_S or resource.phase in EXIT_CODES:
            shown["at"] = now
            show(resource)

    return maybe


def exit_code(result: RunResult) -> int:
    if result.status == "failed" and result.error:
        return _code_of(result.error)
    return EXIT_CODES.get(result.status, 1)


def _code_of(error: dict[str, Any]) -> int:
    """Bad data found while a step ran is bad input (2); anything else that ends a step is 1."""
    from penstock.core.errors import catalogue

    return next((kind.exit_code for kind in catalogue() if kind.code == error.get("code")), 1)


def _place(result: RunResult) -> str:
    """The step that failed, and where in the user's code."""
    step = next((f"step {s['name']}: " for s in result.steps if s["phase"] == "failed"), "")
    where = (result.error or {}).get("where")
    return f"{step}{where}: " if where else step


def _lines(result: RunResult) -> list[str]:
    lines = [f"run {result.run}: {result.status}"]
    if result.error:
        lines += [f"error: {_place(result)}{result.error.get('message')}", str(result.error.get("remedy", ""))]
    if result.metrics:
        lines.append(headline(result.metrics))
    if result.model:
        lines.append(f"model {result.model['name']}:{result.model['version']} {result.model['digest']}")
    if result.deployment and result.deployment.get("url"):
        lines.append(f"serving {result.deployment['name']} at {result.deployment['url']}")
    return lines
