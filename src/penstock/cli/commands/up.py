"""`penstock up`: the background process with control loop, gateway and replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Where the gateway listens.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The gateway's port; 0 picks a free one. [default: 8080, or a free one]")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate chain: the gateway then speaks TLS only.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM private key of the certificate.")] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay in this terminal.")] = False,
) -> None:
    """Start the background process: control loop, gateway, replicas. Does nothing when it runs already."""
    from penstock.control.daemon import Address, ensure_up, serve
    from penstock.control.gateway import url_of
    from penstock.core.errors import BadInput
    from penstock.core.home import Home

    home, address = Home.find(), Address(host, port, tls_cert, tls_key)
    if (tls_cert is None) != (tls_key is None):
        raise BadInput("TLS needs both a certificate and its key", remedy="Give --tls-cert and --tls-key.")
    if foreground:
        here().note("Ctrl-C ends the control loop; gateway and replicas go on serving until `penstock down`.")
        return serve(home, address)
    state = ensure_up(home, address)
    url = url_of(state["gateway"])
    if port not in (None, 0, state["gateway"]["port"]):
        here().note(f"It ran already, on port {state['gateway']['port']}; `penstock down` first to move it to {port}.")
    shown = {"url": url, "control_pid": state["control"]["pid"], "gateway_pid": state["gateway"]["pid"], "home": str(home.folder)}
    return here().show(shown, lambda: [f"gateway at {url}; `penstock status` shows what it serves, `penstock down` stops it"])
