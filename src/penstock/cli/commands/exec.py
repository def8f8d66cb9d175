"""`penstock exec JOB-URI`: runs one job in this process. Platforms start it; people need it only to repeat a step by hand.

Of a step of an exported pipeline (`penstock export kfp`, `stepfunctions`) the URI names a template, and options or variables say the rest.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.output import here

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.platforms.contract import JobSpec
    from penstock.store.artifacts import Artifacts

app = typer.Typer(rich_markup_mode=None)


@app.command()
def execute(
    job: Annotated[str, typer.Argument(metavar="JOB-URI", help="STORE-URL#jobs/KEY.json")],
    remote: Annotated[str | None, typer.Option(metavar="NAME", help="Of the container: log, failure and scratch go to the store.")] = None,
    inputs: Annotated[list[str] | None, typer.Option("--input", metavar="NAME=DIGEST", help="Of a template: what it reads.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Of a template: a value of its config.")] = None,
    outputs: Annotated[list[str] | None, typer.Option("--output", metavar="NAME=FILE", help="Write the output's digest there.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the build's key there.")] = None,
    given: Annotated[bool, typer.Option("--given", help="Of a template: all that is said in PENSTOCK_GIVEN_* variables.")] = False,
) -> None:
    """Execute one job (used by platforms).

    Structured lines `::penstock {json}` go to standard output (to standard error after --json).
    """
    from penstock.core.home import Home
    from penstock.platforms.execute import execute as run
    from penstock.platforms.failures import as_penstock
    from penstock.platforms.handed import Caller
    from penstock.platforms.jobs_codec import result_to_json, split_uri
    from penstock.platforms.log_lines import LineWriter
    from penstock.platforms.remote.hosts_file import say_failure
    from penstock.platforms.rendezvous import node_of
    from penstock.store.artifacts import Artifacts

    url, _ = split_uri(job)
    home = Home.find(environ={**os.environ, "PENSTOCK_ARTIFACTS": url})
    artifacts = Artifacts(url, home.cache)
    try:
        spec, name = _given(job, artifacts, home) if given else _spec(job, artifacts, home, remote, inputs or (), sets or ())
    except Exception as error:
        say_failure(os.environ, str(error))
        raise
    stop = threading.Event()

    def ask(*_: Any) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    try:
        if name is not None:
            from penstock.platforms.remote.inside import run as run_remote

            result = run_remote(spec, name, artifacts, home, stopping=stop.is_set, say=_write)
        else:
            with contextlib.closing(LineWriter(_write)) as lines:
                result = run(spec, artifacts, home, Caller(lines, stop.is_set))
    except Exception as error:
        raise as_penstock(error, spec.code_path) from error
    if given and node_of(os.environ).leads:
        from penstock.control.exporting.given import given_by, tell_store

        tell_store(result, given_by(os.environ)[1], artifacts)
    if outputs or key:
        from penstock.control.exporting.templates import pairs, tell

        tell(result, {name: Path(file) for name, file in pairs(outputs or (), "--output").items()}, key)
    data = result_to_json(result)
    here().show(data, lambda: [f"{spec.step}: {name} {digest}" for name, digest in result.outputs.items()])


def _given(uri: str, artifacts: Artifacts, home: Home) -> tuple[JobSpec, str]:
    """The job of a template, and the name of this try. Raises NotFound, BadInput, SourceUnreadable, StepFailed."""
    from penstock.control.exporting.given import given_by
    from penstock.control.exporting.templates import bound_job

    return bound_job(uri, given_by(os.environ)[0], artifacts, home.cache)


def _spec(
    uri: str, artifacts: Artifacts, home: Home, remote: str | None, inputs: Sequence[str], sets: Sequence[str]
) -> tuple[JobSpec, str | None]:
    """The job, and the name by which it leaves its log in the store, if it shall. Raises NotFound, BadInput, StepFailed."""
    from penstock.core.errors import BadInput
    from penstock.platforms.jobs_codec import fetch, is_template

    if is_template(uri):
        from penstock.control.exporting.templates import Given, bound_job, pairs

        spec, name = bound_job(uri, Given(remote or "by-hand", pairs(inputs, "--input"), pairs(sets, "--set")), artifacts, home.cache)
        return spec, name if remote is not None else None
    if inputs or sets:
        raise BadInput("--input and --set are for templates of exported pipelines; a job has all it needs")
    return fetch(uri, artifacts), remote


def _write(data: bytes) -> None:
    stream = sys.stderr if here().json else sys.stdout
    stream.write(data.decode())
    stream.flush()
