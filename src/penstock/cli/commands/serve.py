"""`penstock serve`: what SageMaker's hosting starts in the image. What to serve stands in the environment (platforms/remote/told.py)."""

from __future__ import annotations

import typer

app = typer.Typer(rich_markup_mode=None)
PORT = 8080


@app.command()
def serve() -> int:
    """Serve one bundle as SageMaker asks for it: GET /ping and POST /invocations on port 8080 (used by platforms).

    PENSTOCK_SERVING says which bundle; PENSTOCK_REPLICA may hold more fields of the replica's spec, both as JSON.
    """
    import os

    from penstock.core.home import Home
    from penstock.platforms.remote.replica import serve as run
    from penstock.platforms.remote.told import further, told

    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT") or PORT)
    return run(told(os.environ, "0.0.0.0", port), Home.find(), {**further(os.environ), "invoked": True})
