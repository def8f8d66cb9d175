"""The control side of one worker process: starting it, talking to it, ending it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from penstock.core.home import Home
from penstock.platforms.contract import JobSpec
from penstock.platforms.jobs_codec import job_to_json
from penstock.platforms.local.process import kill_group


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """`python` is its interpreter; `task` is what it works on, None when idle; `warming` counts preimports not yet answered."""

    python: str
    process: subprocess.Popen[bytes]
    death: int  # a descriptor that is readable once the process ended; -1 where there is none
    warm: set[str] = field(default_factory=set)
    warming: int = 0
    busy: bool = False
    _unread: bytes = b""

    @classmethod
    def start(cls, python: str, log: Path) -> WorkerProcess:
        """Returns at once: commands may be sent before the worker is up. What it says outside of jobs goes to `log`."""
        command = [python, "-P", "-m", "penstock.platforms.local.worker"]
        with open(log, "ab") as errors:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, bufsize=0
            )
        os.set_blocking(cast("IO[bytes]", process.stdout).fileno(), False)
        return cls(python, process, os.pidfd_open(process.pid) if sys.platform == "linux" else -1)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def events(self) -> int:
        """Descriptor that is readable when the worker has said something."""
        return cast("IO[bytes]", self.process.stdout).fileno()

    def run(self, job: JobSpec, folder: Path, home: Home) -> None:
        where = {"folder": str(home.folder), "database_url": home.database_url, "artifacts_url": home.artifacts_url}
        self.busy = True
        self.warm.add(job.stage)
        self._send({"do": "run", "job": job_to_json(job), "folder": str(folder), "home": where})

    def preimport(self, stages: Iterable[str]) -> None:
        self.warm |= set(stages)
        self.warming += 1
        self._send({"do": "warm", "stages": list(stages)})

    def leave(self) -> None:
        """It takes no more work, and ends once it is idle."""
        self.busy = True
        self._send({"do": "leave"})

    def ended(self) -> bool:
        return self.process.poll() is not None

    def ask_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """With everything that its job started."""
        kill_group(self.pid)
        self.process.kill()

    def heard(self) -> list[dict[str, Any]]:
        """What the worker said since last time."""
        while True:
            try:
                data = os.read(self.events, 1 << 16)
            except BlockingIOError:
                break
            if not data:
                break
            self._unread += data
        *lines, self._unread = self._unread.split(b"\n")
        return [json.loads(line) for line in lines]

    def bury(self) -> int:
        """Waits for a process that ended, takes its children with it, and gives its exit status (negative: the signal)."""
        status = self.process.wait()
        kill_group(self.pid)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        if self.death >= 0:
            os.close(self.death)
        return status

    def _send(self, command: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # it died: the watcher hears of that by itself and says why
            cast("IO[bytes]", self.process.stdin).write(json.dumps(command).encode() + b"\n")
