"""Runs one job in this process, or in several that it starts: what every platform starts, and all that `penstock exec` does.

Inputs are verified before they are read; outputs are committed; the completion marker is written last. So a job that was
killed anywhere is either finished or runs again from its scratch, and a finished one is never run twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.errors import Interrupted
from penstock.core.files import told_plainly
from penstock.platforms.contract import JobResult, JobSpec
from penstock.platforms.handed import Caller, JobContext, StagedOutputs, folder_of, run_stage, threads_for
from penstock.platforms.jobs_codec import finished, marker_of, result_to_json
from penstock.platforms.processes import run_processes
from penstock.platforms.rendezvous import Node

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.stages.contract import Stage
    from penstock.store.artifacts import Artifacts


ALONE = Node()


def execute(
    job: JobSpec, artifacts: Artifacts, home: Home, caller: Caller, node: Node = ALONE, stage: Stage[Any] | None = None
) -> JobResult:
    """Runs the stage of `job`, or returns the result of an earlier run of the same key.

    Of several machines that run it together one leads; what the others write is dropped. `stage`: instead of the one that is named,
    with the same result by another way.

    Raises what the stage raises; what it wrote is then dropped, but its scratch is kept for the next attempt.
    """
    done = finished(job.key, artifacts)
    if done is not None:
        return done
    folder = folder_of(home, job.key)
    with told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "lock", caller.stopping):
        return finished(job.key, artifacts) or _run(job, artifacts, home, caller, node, stage)


def _run(job: JobSpec, artifacts: Artifacts, home: Home, caller: Caller, node: Node, stage: Stage[Any] | None) -> JobResult:
    folder, started = folder_of(home, job.key), time.monotonic()
    scratch, staging = folder / "scratch", folder / "staging"  # the commit empties it; its empty folders may stay
    _remove(staging)  # of an attempt that was killed
    outputs = StagedOutputs(staging)
    try:
        if job.processes > 1:
            metrics = run_processes(job, home, node, outputs, caller)
        else:
            context = JobContext(scratch, threads_for(job.cpus), caller.emit, caller.stopping, node.peers(1))
            metrics = run_stage(job, artifacts, home, outputs, context, stage)
        if not node.leads:
            _remove(staging)
            return JobResult(job.key, {}, {}, time.monotonic() - started)
        committed = outputs.commit(artifacts)
    except BaseException:
        _remove(staging)
        raise
    result = JobResult(job.key, committed, {name: float(value) for name, value in metrics.items()}, time.monotonic() - started)
    artifacts.put_note(marker_of(job.key), json.dumps(result_to_json(result)).encode())
    _remove(scratch)
    if any(files for _, _, files in os.walk(staging)):
        _remove(staging)  # what the store had already was not moved
    return result


def _remove(folder: Path) -> None:
    """Looks first: removing folders is slow on a busy disk."""
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _alone(path: Path, stopping: Callable[[], bool]) -> Iterator[None]:
    """One process at a time works on a key; the lock goes with the process that holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stopping():
                    raise Interrupted("stopped while another process was working on the same step") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)
