"""The command line: one table of commands, each imported when it is called, and one place where errors end.

Nothing heavy is imported here: `penstock --help` is drawn from the table alone.
"""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
from typer.core import TyperGroup

from penstock import __version__
from penstock.cli import completion, output
from penstock.core.errors import Interrupted


@dataclass(frozen=True, slots=True)
class Command:
    """`module` lies under penstock.cli.commands and has a Typer called `app`."""

    help: str
    module: str


COMMANDS = {
    "init": Command("Write a pipeline file to start from.", "init"),
    "check": Command("Check a pipeline file and list every problem with its line.", "check"),
    "schema": Command("Print the JSON Schema of the pipeline file, for editors.", "schema"),
    "openapi": Command("Print the OpenAPI document of the gateway, for clients and generators.", "openapi"),
    "plan": Command("Show the steps of a run, which are cached, and why the others are not.", "plan"),
    "run": Command("Run a pipeline, gate its model, and deploy it.", "run"),
    "runs": Command("List runs; show, follow, cancel or compare them.", "runs"),
    "models": Command("List model versions; show, promote or compare them.", "models"),
    "deploy": Command("Serve a model version behind the gateway.", "deploy"),
    "deployments": Command("List deployments and what each one serves.", "deployments"),
    "traffic": Command("Show and change which version gets which requests.", "traffic"),
    "rollouts": Command("See and steer how a new version takes over.", "rollouts"),
    "reactions": Command("See what was done by itself and why; answer questions.", "reactions"),
    "triggers": Command("See when pipelines run unasked; set, fire and remove triggers.", "triggers"),
    "labels": Command("Label requests that the model was unsure of; agreement of people.", "labels"),
    "scale": Command("Show, change and simulate how many replicas a deployment has.", "scale"),
    "rollback": Command("Serve an earlier version again.", "rollback"),
    "predict": Command("Send text to a deployment and print the answer.", "predict"),
    "batch": Command("Answer a file of rows by a model version, resumable.", "batch"),
    "bench": Command("Send load to a deployment: latency, the knee, recovery.", "bench"),
    "screen": Command("Show what guardrails find in texts, or print them masked.", "screen"),
    "keys": Command("Create, limit, list and revoke gateway keys.", "keys"),
    "requests": Command("List recorded requests; show one; KPIs by version.", "requests"),
    "alerts": Command("List what fires; show, take or silence alerts; try a receiver.", "alerts"),
    "explain": Command("Say which part of the traffic a change comes from.", "explain"),
    "signals": Command("Show what is measured of a deployment, now or over time.", "signals"),
    "monitor": Command("Watch a deployment live: figures, series, drift, alerts.", "monitor"),
    "drift": Command("Show what drifted and what moved; compare two tables.", "drift"),
    "report": Command("Write what a deployment did in a time as one HTML page.", "report"),
    "export": Command("Write Prometheus rules and Grafana dashboards.", "export"),
    "up": Command("Start the background process: control loop, gateway, replicas.", "up"),
    "down": Command("Stop the background process and its replicas.", "down"),
    "status": Command("Show what runs in the background and what it serves.", "status"),
    "install": Command("Put control process and gateway into a cluster.", "install"),
    "answer": Command("Answer a share of a batch's rows (used by platforms).", "answer"),
    "exec": Command("Execute one job (used by platforms).", "exec"),
    "replica": Command("Serve one bundle (used by platforms).", "replica"),
    "serve": Command("Serve one bundle in a container (used by platforms).", "serve"),
    "gateway": Command("Serve a published snapshot (used by platforms).", "gateway"),
    "image": Command("Build the container image that platforms start.", "image"),
    "doctor": Command("Report what is installed, what is missing, and the fix.", "doctor"),
    "audit": Command("Verify and list the audit log.", "audit"),
    "gc": Command("Remove artifacts that nothing references.", "gc"),
}


class LazyGroup(TyperGroup):
    """Lists the table; imports a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature, here and below)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        from typer.main import get_command

        command = get_command(importlib.import_module(f"penstock.cli.commands.{row.module}").app)
        if isinstance(command, TyperGroup):
            command.suggest_commands = False  # click makes the same suggestion
        command.name, command.help, command.short_help = cmd_name, command.help or row.help, row.help
        command.params = [p for p in command.params if p.name not in ("install_completion", "show_completion")]  # only the root has them
        return output.with_options(command)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"no command is called {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("stopped from the keyboard") from None  # typer would end without a word

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.help) for name, row in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=row.help) for name, row in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)


def group() -> LazyGroup:
    """The root command."""
    params: list[click.Parameter] = [
        click.Option(["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."),
        *completion.options(),
    ]
    root = LazyGroup(name="penstock", help=_HELP, params=params, rich_markup_mode=None, context_settings=_SETTINGS)
    return output.with_options(root)


_SETTINGS = {"help_option_names": ["-h", "--help"]}

_HELP = """A large language model's whole life from one file.

Start with `penstock init`, then `penstock run penstock.yaml`. State lies in .penstock/ beside the file, or in PENSTOCK_HOME.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; errors go to stderr with the way out, as JSON after --json."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    plain = given[: given.index("--")] if "--" in given else given
    shown = output.Output(json="--json" in plain, debug="--debug" in plain)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a narrow terminal encoding must not end a command
    try:
        if completion.VARIABLE in os.environ:
            completion.prepare()
        with output.using(shown):
            result = group().main(given or ["--help"], prog_name="penstock", complete_var=completion.VARIABLE, standalone_mode=False)
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # click ends so where a write in a command met it
            return _reader_gone()
        raise
    except (Exception, KeyboardInterrupt) as error:
        return output.fail(error, shown)


def _reader_gone() -> int:
    """The reader went away (`penstock runs | head`): not an error, and nothing more can be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001 (click calls it so)
    if value and not ctx.resilient_parsing:
        output.here().show({"version": __version__}, lambda: [f"penstock {__version__}"])
        ctx.exit()
