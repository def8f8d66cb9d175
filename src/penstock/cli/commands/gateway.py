"""`penstock gateway`: the gateway alone, over a snapshot that a control process publishes elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def gateway(
    home: Annotated[Path | None, typer.Option(help="Folder with snapshot.json. [default: the one that `penstock up` uses]")] = None,
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM private key.")] = None,
) -> int:
    """Serve the models of a snapshot until SIGTERM (used by platforms)."""
    from penstock.core.home import Home
    from penstock.serving.gateway import main

    folder = home or Home.find().gateway
    options = ["--home", str(folder), "--host", host, "--port", str(port), "--workers", str(workers)]
    for name, file in (("--tls-cert", tls_cert), ("--tls-key", tls_key)):
        options += [name, str(file)] if file is not None else []
    return main(options)
