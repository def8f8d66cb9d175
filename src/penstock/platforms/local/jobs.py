"""Jobs on this machine: warm worker processes, and a record on disk by which any control process finds a job again.

Not covered: jobs over several machines, isolation of users from each other (a step runs as whoever runs Penstock).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.core.digests import hex_of
from penstock.core.files import told_plainly
from penstock.core.home import Home
from penstock.platforms.contract import JobHandle, JobSpec, JobState, LogPage
from penstock.platforms.failures import describe
from penstock.platforms.jobs_codec import finished, publish
from penstock.platforms.local import endings
from penstock.platforms.local.capabilities import capabilities, refuse_impossible
from penstock.platforms.local.environments import build, built_python
from penstock.platforms.local.layout import Recorded, attempt_folder, folder_of_reference, read_log, read_state, write_state
from penstock.platforms.local.pool import Pool
from penstock.platforms.local.process import alive, birth, kill_group
from penstock.platforms.local.task import Task

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

GRACE_S = 10.0
REMEMBERED = 1000
_ENDED = ("succeeded", "failed", "cancelled")


class LocalJobs:
    def __init__(self, home: Home, artifacts: Artifacts, *, workers: int | None = None, grace_s: float = GRACE_S) -> None:
        """`workers`: steps at once (default one per core); `grace_s`: seconds between SIGTERM and SIGKILL. Starts nothing yet."""
        self._home, self._artifacts, self._grace_s = home, artifacts, grace_s
        self._pool = Pool(home, workers or os.cpu_count() or 1, grace_s, self._record)
        self._tasks: dict[str, Task] = {}
        self._machine = capabilities()
        self._environments = home.folder / "environments"
        self._pid, self._born = os.getpid(), birth(os.getpid()) or ""

    def submit(self, job: JobSpec) -> JobHandle:
        """Starts `job` unless this attempt is running or ended. A step that ended in an earlier run may be tried again by a new one.

        Raises PlatformLacks when it asks for more than the machine has.
        """
        refuse_impossible(job, self._machine)
        reference = f"{hex_of(job.key)}/{job.attempt}"
        handle = JobHandle("local", job.key, reference)
        with self._pool.lock:
            folder = attempt_folder(self._home.jobs, job.key, job.attempt)
            if self._stands(job, folder, self._tasks.get(reference)):
                return handle
            if folder.exists():  # an attempt that was lost, or that ended in an earlier run: its log is kept aside
                folder.rename(folder.with_name(f"{folder.name}.{time.time_ns()}"))
            try:
                with told_plainly(folder):
                    folder.mkdir(parents=True)
            except FileExistsError:
                return handle  # another control process was quicker
            write_state(folder, Recorded(JobState("pending"), job.run, self._pid, self._born))
            publish(job, self._artifacts, self._home.artifacts_url)
            if len(self._tasks) > REMEMBERED:
                self._tasks = {name: known for name, known in self._tasks.items() if not known.ended}  # the rest is on disk
            python = built_python(self._environments, job.environment) if job.environment else sys.executable
            task = self._tasks[reference] = Task(job, folder, python or "")
            if python is not None:
                self._pool.add(task)
            else:
                threading.Thread(target=self._build_then_add, args=(task,), name="penstock-environment", daemon=True).start()
        return handle

    def observe(self, handle: JobHandle) -> JobState:
        """Raises NotFound for a job that was never submitted under this home."""
        task = self._tasks.get(handle.reference)
        if task is not None:
            return task.state
        folder = folder_of_reference(self._home.jobs, handle.reference)
        recorded = read_state(folder)
        if recorded is not None and (recorded.state.phase in _ENDED or alive(recorded.pid, recorded.born)):
            return recorded.state
        name = handle.reference[:12]
        if (folder / "cancel").exists():
            return JobState("cancelled", error=endings.cancelled(name))
        return JobState("failed", error=endings.lost(name))

    def logs(self, handle: JobHandle, since: int = 0) -> LogPage:
        return read_log(folder_of_reference(self._home.jobs, handle.reference), since)

    def cancel(self, handle: JobHandle) -> None:
        task = self._tasks.get(handle.reference)
        if task is not None:
            self._pool.end(task, JobState("cancelled", error=endings.cancelled(task.job.step)))
            return
        self._cancel_elsewhere(folder_of_reference(self._home.jobs, handle.reference))

    def wait(self, timeout_s: float | None = None) -> bool:
        """Returns True as soon as a job ended since the last call, False after `timeout_s` without."""
        happened = self._pool.changed.wait(timeout_s)
        self._pool.changed.clear()
        return happened

    def warm(self, stages: Iterable[str] = ()) -> None:
        """Starts a worker ahead, and has it import what `stages` will need."""
        self._pool.warm(stages)

    def close(self) -> None:
        """Idle workers leave. Steps that still run are asked to stop, then killed; they go on from their scratch when submitted again."""
        self._pool.close()

    def _stands(self, job: JobSpec, folder: Path, task: Task | None) -> bool:
        """Whether this attempt needs no start: it runs somewhere, or it ended and that still counts."""
        recorded = read_state(folder) if task is None else Recorded(task.state, task.job.run, self._pid, self._born)
        if recorded is None:
            return False
        if recorded.state.phase == "succeeded":
            return finished(job.key, self._artifacts) is not None
        if recorded.state.phase in _ENDED:
            return recorded.run == job.run
        return alive(recorded.pid, recorded.born)

    def _build_then_add(self, task: Task) -> None:
        try:
            task.python = build(self._environments, task.job.environment, task.folder / "log")
        except Exception as error:
            # This thread is all that knows of the task: whatever went wrong, the task must end by it.
            self._pool.end(task, JobState("failed", error=describe(error)))
        else:
            self._pool.add(task)

    def _record(self, task: Task, by_worker: bool) -> None:
        lost = task.state.error is not None and task.state.error["type"] == "WorkerLost"
        if not (by_worker or lost):  # what was lost stays `running` on disk, by a process that is gone: so it may be submitted again
            write_state(task.folder, Recorded(task.state, task.job.run, self._pid, self._born))

    def _cancel_elsewhere(self, folder: Path) -> None:
        """A job of another control process: its worker is asked to stop; asked again after the grace, it is killed."""
        recorded = read_state(folder)
        if recorded is None or recorded.state.phase in _ENDED or not alive(recorded.pid, recorded.born):
            return
        asked = folder / "cancel"
        if recorded.state.phase == "pending":
            asked.touch()
        elif not asked.exists():
            asked.touch()
            os.kill(recorded.pid, signal.SIGTERM)
        elif time.time() - asked.stat().st_mtime > self._grace_s:
            kill_group(recorded.pid)
