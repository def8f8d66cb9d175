"""`penstock replica BUNDLE`: serves one bundle of the artifact store in this process. Platforms start it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def replica(
    bundle: Annotated[str, typer.Argument(metavar="DIGEST", help="Of the bundle, in the store that PENSTOCK_ARTIFACTS names.")],
    model: Annotated[str, typer.Option(help="The model name that clients send.")],
    version: Annotated[str, typer.Option(help="Of the model.")],
    name: Annotated[str, typer.Option("--name", help="Of this replica.")] = "replica",
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 0,
    settings: Annotated[str, typer.Option(metavar="JSON", help="Of the engine.")] = "{}",
    drain: Annotated[float, typer.Option(min=0, help="Seconds to finish requests in after SIGTERM.")] = 30.0,
) -> int:
    """Serve one bundle (used by platforms).

    PENSTOCK_REPLICA may hold more fields of the replica's spec, as JSON. Keys are the gateway's business: only it should reach a replica.
    """
    from penstock.core.home import Home
    from penstock.platforms.remote.replica import Serving, serve

    serving = Serving(bundle, model, version, name, host, port, _map("--settings", settings), drain)
    return serve(serving, Home.find(), _map("PENSTOCK_REPLICA", _more()))


def _more() -> str:
    import os

    return os.environ.get("PENSTOCK_REPLICA") or "{}"


def _map(what: str, text: str) -> dict[str, Any]:
    from penstock.core.errors import BadInput

    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{what} is not JSON: {error}", remedy=f"Write a map, such as {what} '{{\"threads\": 2}}'.") from error
    if not isinstance(value, dict):
        raise BadInput(f"{what} needs a map, not {text}")
    return value
