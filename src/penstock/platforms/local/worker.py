"""A warm worker: a process that runs one job at a time for LocalJobs and keeps what it imported.

Commands come on standard input, events go to standard output, both as JSON lines; while a job runs, its own output goes
to the job's log. The worker never outlives the process that started it (guard.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.platforms.local.guard import guard
from penstock.platforms.local.process import birth

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.platforms.contract import JobSpec, JobState
    from penstock.store.artifacts import Artifacts

# What a stage will import anyway; done ahead while the worker is idle.
_HEAVY = {
    "data": ("polars", "pyarrow.parquet"),
    "train": ("torch", "transformers"),
    "optimize": ("torch", "transformers", "openvino", "nncf"),
    "evaluate": ("openvino", "scipy.stats", "sklearn.metrics"),
    "embedder": ("torch", "transformers", "openvino"),
    "reference": ("openvino", "polars"),
}
_LIBC = ctypes.CDLL(None)


class Worker:
    def __init__(self) -> None:
        """Takes the two pipes away from the code of jobs, which sees an empty standard input."""
        self._commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._input, self._events = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        os.close(nothing)
        self._stop = threading.Event()
        self._stores: dict[str, Artifacts] = {}

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the control process's to handle
        threading.Thread(target=self._read, name="penstock-commands", daemon=True).start()
        self._tell({"event": "ready"})
        import penstock.platforms.execute
        import penstock.store.artifacts  # noqa: F401  (paid while nobody waits)

        while True:
            command = self._commands.get()
            if command["do"] == "run":
                self._tell(self._run(command))
            elif command["do"] == "warm":
                _warm(command["stages"])
                self._tell({"event": "warmed"})
            else:
                return

    def _read(self) -> None:
        with os.fdopen(self._input, "rb") as lines:
            for line in lines:
                self._commands.put(json.loads(line))

    def _tell(self, event: dict[str, Any]) -> None:
        os.write(self._events, json.dumps(event).encode() + b"\n")

    def _run(self, command: dict[str, Any]) -> dict[str, Any]:
        from penstock.core.home import Home
        from penstock.platforms.jobs_codec import job_from_json, state_to_json

        job = job_from_json(command["job"])
        home = Home(Path(command["home"]["folder"]), command["home"]["database_url"], command["home"]["artifacts_url"])
        self._stop.clear()
        threads = threading.active_count()
        with _kept(), _logged_to(Path(command["folder"]) / "log"):
            state, asked_to_stop = self._state_of(job, home, Path(command["folder"]))
        return {
            "event": "ended",
            "state": state_to_json(state),
            "interrupted": asked_to_stop,
            "spent": threading.active_count() > threads or _has_children(),
        }

    def _state_of(self, job: JobSpec, home: Home, folder: Path) -> tuple[JobState, bool]:
        from penstock.core.errors import Interrupted
        from penstock.platforms.contract import JobState
        from penstock.platforms.execute import execute
        from penstock.platforms.failures import describe
        from penstock.platforms.handed import Caller
        from penstock.platforms.local.layout import Recorded, write_state
        from penstock.platforms.log_lines import LineWriter

        started, pid = time.time(), os.getpid()
        born = birth(pid) or ""
        write_state(folder, Recorded(JobState("running", started_at=started), job.run, pid, born))
        _forget_peak()
        lines = LineWriter(lambda data: os.write(1, data))
        try:
            result = execute(job, self._artifacts(home), home, Caller(lines, self._stop.is_set))
            state = JobState("succeeded", result, None, started, time.time(), _peak_bytes())
        except Interrupted as error:
            return JobState("cancelled", None, describe(error, job.code_path), started, time.time(), _peak_bytes()), True
        except BaseException as error:
            state = JobState("failed", None, describe(error, job.code_path), started, time.time(), _peak_bytes())
        finally:
            lines.close()
        write_state(folder, Recorded(state, job.run, pid, born))
        return state, False

    def _artifacts(self, home: Home) -> Artifacts:
        from penstock.store.artifacts import Artifacts

        if home.artifacts_url not in self._stores:
            self._stores[home.artifacts_url] = Artifacts(home.artifacts_url, home.cache)
        return self._stores[home.artifacts_url]


def _warm(stages: list[str]) -> None:
    """Imports ahead; what is not installed is reported when a job needs it."""
    import importlib

    from penstock.core.errors import ExtraMissing
    from penstock.stages.table import STAGES

    for stage in stages:
        with contextlib.suppress(ExtraMissing):
            STAGES.load(stage)
        for name in _HEAVY.get(stage, ()):
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(name)


@contextlib.contextmanager
def _kept() -> Any:
    """Puts back what one job must not leave to the next: environment, working directory, umask, signal handler."""
    environment, folder, handler = dict(os.environ), os.getcwd(), signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        os.chdir(folder)
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _logged_to(path: Path) -> Any:
    """Sends descriptors 1 and 2 to the log, so that C libraries and child processes write there too."""
    out, err = os.dup(1), os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        _LIBC.fflush(None)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(out)
        os.close(err)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _forget_peak() -> None:
    """Resets the kernel's high-water mark of this process's memory (Linux; elsewhere peaks come from the sampler alone)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_bytes(b"5")


def _peak_bytes() -> int | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def main() -> None:
    guard(0)
    # Read by libgomp once, when torch is imported. Threads that spin where they wait for each other cost twice the time beside other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]  # a text stream always can
    Worker().serve()


if __name__ == "__main__":
    main()
