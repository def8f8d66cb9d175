"""Shell completion: installing the script for bash, zsh or fish, and the names of runs and models."""

from __future__ import annotations

from collections.abc import Callable

import click

VARIABLE = "_PENSTOCK_COMPLETE"  # set by the shell's script when it asks
THIS_SHELL = "this shell"


def options() -> list[click.Parameter]:
    """--install-completion and --show-completion, each with an optional shell."""
    shells = click.Choice(["bash", "zsh", "fish", "powershell", "pwsh", THIS_SHELL])

    def option(name: str, callback: Callable[[click.Context, click.Parameter, str | None], None], help_text: str) -> click.Option:
        return click.Option(
            [name],
            type=shells,
            is_flag=False,
            flag_value=THIS_SHELL,
            expose_value=False,
            is_eager=True,
            callback=callback,
            metavar="[SHELL]",
            help=help_text,
        )

    return [
        option("--install-completion", _install, "Install completion for this shell, or for the one named."),
        option("--show-completion", _show, "Print the completion script of this shell, or of the one named."),
    ]


def prepare() -> None:
    """Teaches click the answers that typer's scripts expect; needed only while a shell asks."""
    from typer.completion import get_completion_inspect_parameters

    get_completion_inspect_parameters()  # registers them; what it returns is for apps made by typer


def _install(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value and not ctx.resilient_parsing:
        from typer.completion import install_callback

        install_callback(ctx, param, True if value == THIS_SHELL else value)


def _show(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value and not ctx.resilient_parsing:
        from typer.completion import show_callback

        show_callback(ctx, param, True if value == THIS_SHELL else value)


def complete_run(incomplete: str) -> list[str]:
    """Ids of the newest runs that begin so."""
    return [
        name
        for name in _names("SELECT id FROM resources WHERE kind = 'run' ORDER BY created_at DESC LIMIT 50")
        if name.startswith(incomplete)
    ]


def complete_model(incomplete: str) -> list[str]:
    """Names of registered models that begin so."""
    return [name for name in _names("SELECT DISTINCT model FROM model_versions ORDER BY model LIMIT 200") if name.startswith(incomplete)]


def complete_deployment(incomplete: str) -> list[str]:
    """Names of deployments that begin so."""
    found = _names("SELECT DISTINCT name FROM resources WHERE kind = 'deployment' AND phase != 'deleted' ORDER BY name LIMIT 200")
    return [name for name in found if name.startswith(incomplete)]


def complete_alert(incomplete: str) -> list[str]:
    """Ids of the newest alerts that begin so, those that fire first."""
    rows = "SELECT id FROM resources WHERE kind = 'alert' ORDER BY phase = 'firing' DESC, created_at DESC LIMIT 50"
    return [name for name in _names(rows) if name.startswith(incomplete)]


def complete_silence(incomplete: str) -> list[str]:
    """Ids of silences in force that begin so."""
    rows = "SELECT id FROM resources WHERE kind = 'silence' AND phase = 'active' ORDER BY created_at DESC LIMIT 50"
    return [name for name in _names(rows) if name.startswith(incomplete)]


def _names(query: str) -> list[str]:
    """Straight from a local SQLite file, because a key press must not wait for the store's imports; nothing from other databases."""
    import sqlite3

    from penstock.core.home import Home

    home = Home.find()
    file = home.database_url.removeprefix("sqlite:///")
    if file == home.database_url:
        return []
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=0.2) as connection:
            return [str(row[0]) for row in connection.execute(query)]
    except sqlite3.Error:
        return []  # a completion has no place to tell an error; the command itself will
