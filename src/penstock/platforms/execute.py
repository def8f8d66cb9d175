"""Runs one job in this process: what every platform starts, and all that `penstock exec` does.

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

from penstock.core.digests import hex_of
from penstock.core.errors import Interrupted
from penstock.core.files import told_plainly
from penstock.platforms.code_path import importable
from penstock.platforms.configs import stage_named, validated
from penstock.platforms.contract import JobResult, JobSpec
from penstock.platforms.handed import JobContext, StagedOutputs, StoredInputs, threads_for
from penstock.platforms.jobs_codec import finished, marker_of, result_to_json
from penstock.platforms.log_lines import Emit

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.stages.contract import Stage
    from penstock.store.artifacts import Artifacts


def folder_of(home: Home, key: str) -> Path:
    """Everything local about one key: lock, scratch, and a folder per attempt."""
    return home.jobs / hex_of(key)


def execute(
    job: JobSpec,
    store_artifacts: Artifacts,
    home: Home,
    *,
    emit: Emit,
    stopping: Callable[[], bool],
    leads: bool = True,
    stage: Stage[Any] | None = None,
) -> JobResult:
    """Runs the stage of `job`, or returns the result of an earlier run of the same key.

    Of several machines that run it together one `leads`; what the others write is dropped. `stage`: instead of the one that is named,
    with the same result by another way.

    Raises what the stage raises; what it wrote is then dropped, but its scratch is kept for the next attempt.
    """
    done = finished(job.key, store_artifacts)
    if done is not None:
        return done
    folder = folder_of(home, job.key)
    with told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "lock", stopping):
        known = finished(job.key, store_artifacts)
        return known or _run(job, store_artifacts, home, stage or stage_named(job.stage), emit=emit, stopping=stopping, leads=leads)


def _run(
    job: JobSpec, artifacts: Artifacts, home: Home, stage: Stage[Any], *, emit: Emit, stopping: Callable[[], bool], leads: bool
) -> JobResult:
    folder, started = folder_of(home, job.key), time.monotonic()
    scratch, staging = folder / "scratch", folder / "staging"  # the commit empties it; its empty folders may stay
    _remove(staging)  # of an attempt that was killed
    outputs = StagedOutputs(staging)
    context = JobContext(scratch, threads_for(job.cpus), emit, stopping)
    try:
        config = validated(job.stage, job.config)
        with importable(job.code_path):
            metrics = stage.run(config, StoredInputs(job, artifacts, home.cache), outputs, context)
        if not leads:
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
