"""`penstock down`: ends control process, replicas and gateway of this home."""

from __future__ import annotations

import typer

from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def down() -> None:
    """Stop the background process, its gateway and its replicas. Deployments come back with the next `penstock up`."""
    from penstock.control.daemon import down as stop
    from penstock.core.home import Home

    ended = stop(Home.find())
    what = [name for name in ("control", "gateway") if ended[name]] + ([f"{ended['replicas']} replicas"] if ended["replicas"] else [])
    what += [f"{ended['elsewhere']} replicas elsewhere"] if ended["elsewhere"] else []
    beside = [f"still there: {name}" for name in ended["left"]] + [f"not known what is left: {why}" for why in ended["unknown"]]
    here().show(ended, lambda: [f"stopped {', '.join(what)}" if what else "nothing ran", *beside])
