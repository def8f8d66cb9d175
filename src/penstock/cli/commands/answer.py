"""`penstock answer ORDER-URI`: a share of a batch's rows, where a vendor's service runs commands. Platforms start it."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def answer(
    order: Annotated[str, typer.Argument(metavar="ORDER-URI", help="STORE-URL#NOTE")],
    part: Annotated[int, typer.Option(min=0, help="Which of the order's instances this is, from 0.")] = 0,
) -> None:
    """Answer a share of a batch's shards (used by platforms).

    PENSTOCK_REPLICA may hold more fields of the replica's spec, as JSON.
    """
    import os
    import signal
    import threading
    import traceback

    from penstock.core.home import Home
    from penstock.platforms.batches import fetched, tell
    from penstock.platforms.remote.answering import answer as run
    from penstock.platforms.remote.told import further
    from penstock.store.artifacts import Artifacts

    url, _, note = order.partition("#")
    home = Home.find(environ={**os.environ, "PENSTOCK_ARTIFACTS": url})
    artifacts = Artifacts(url, home.cache)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    found = fetched(artifacts, note)
    try:
        count = run(found, part, artifacts, home.replicas / found.name / str(part), further(os.environ), stop.is_set)
    except Exception:
        tell(artifacts, found, part, traceback.format_exc())
        raise
    here().show({"shards": count}, lambda: [f"{count} shards answered"])
