"""`penstock exec JOB-URI`: runs one job in this process. Platforms start it; people need it only to repeat a step by hand."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import Annotated, Any

import typer

from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def execute(
    job: Annotated[str, typer.Argument(metavar="JOB-URI", help="STORE-URL#jobs/KEY.json")],
    remote: Annotated[str | None, typer.Option(metavar="NAME", help="Of the container: log, failure and scratch go to the store.")] = None,
) -> None:
    """Execute one job (used by platforms).

    Structured lines `::penstock {json}` go to standard output (to standard error after --json).
    """
    from penstock.core.home import Home
    from penstock.platforms.execute import execute as run
    from penstock.platforms.failures import as_penstock
    from penstock.platforms.jobs_codec import fetch, result_to_json, split_uri
    from penstock.platforms.log_lines import LineWriter
    from penstock.store.artifacts import Artifacts

    url, _ = split_uri(job)
    home = Home.find(environ={**os.environ, "PENSTOCK_ARTIFACTS": url})
    artifacts = Artifacts(url, home.cache)
    spec = fetch(job, artifacts)
    stop = threading.Event()

    def ask(*_: Any) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    try:
        if remote is not None:
            from penstock.platforms.remote.inside import run as run_remote

            result = run_remote(spec, remote, artifacts, home, stopping=stop.is_set, say=_write)
        else:
            with contextlib.closing(LineWriter(_write)) as lines:
                result = run(spec, artifacts, home, emit=lines, stopping=stop.is_set)
    except Exception as error:
        raise as_penstock(error, spec.code_path) from error
    data = result_to_json(result)
    here().show(data, lambda: [f"{spec.step}: {name} {digest}" for name, digest in result.outputs.items()])


def _write(data: bytes) -> None:
    stream = sys.stderr if here().json else sys.stdout
    stream.write(data.decode())
    stream.flush()
