"""`penstock serve`: the image's own command, for managed hosting and functions. What to serve stands in the environment (told.py)."""

from __future__ import annotations

import typer

app = typer.Typer(rich_markup_mode=None)
_PORTS = ("PENSTOCK_SERVE_PORT", "SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT", "PORT")


@app.command()
def serve() -> int:
    """Serve one bundle as managed hosting asks for it: on port 8080, health and routes to post to (used by platforms).

    PENSTOCK_SERVING says which bundle; PENSTOCK_REPLICA may hold more fields of the replica's spec, both as JSON.
    PENSTOCK_SERVE_PORT or PORT is another port. On AWS Lambda it answers invocations instead.
    """
    import os

    if os.environ.get("AWS_LAMBDA_RUNTIME_API"):
        from penstock.platforms.function.lambdas import run as invoked

        return invoked()

    from penstock.core.home import Home
    from penstock.platforms.remote.container import PORT
    from penstock.platforms.remote.replica import serve as run
    from penstock.platforms.remote.told import further, told

    port = int(next((os.environ[name] for name in _PORTS if os.environ.get(name)), PORT))
    return run(told(os.environ, "0.0.0.0", port), Home.find(), {**further(os.environ), "invoked": True})
