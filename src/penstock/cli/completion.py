"""Shell completion: installing the script for bash, zsh or fish, and the names of runs and models."""

from __future__ import annotations

import click


def install(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Callback of --install-completion."""
    if value and not ctx.resilient_parsing:
        from typer.completion import install_callback

        install_callback(ctx, param, value)


def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Callback of --show-completion."""
    if value and not ctx.resilient_parsing:
        from typer.completion import show_callback

        show_callback(ctx, param, value)


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
