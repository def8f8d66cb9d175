"""Keeps the watcher running beside the gateway."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

from penstock.core.home import Home

REST_S = 10.0


class Watching:
    """`look` is called often and never waits. The watcher takes up where it stopped, and ends by itself when this process is gone."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._due = 0.0
        self._can = find_spec("numpy") is not None  # without it there are records and no signals; `penstock doctor` says so

    def look(self, now: float) -> bool:
        """Starts it unless it runs; one that ended rests for REST_S. `now`: seconds of the monotonic clock. True: it runs."""
        if self._process is not None and self._process.poll() is None:
            return True
        if not self._can or now < self._due:
            return False
        self._due, self._process = now + REST_S, None
        try:
            self._process = self._started()
        except OSError as error:  # a full disk must not end the control loop
            print(f"watcher: {error}", file=sys.stderr, flush=True)
        return self._process is not None

    def _started(self) -> subprocess.Popen[bytes]:
        folder = self.home.folder / "monitor"
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "penstock.control.watch", "--home", str(self.home.folder), "--parent", str(os.getpid())]
        urls = {"PENSTOCK_DATABASE": self.home.database_url, "PENSTOCK_ARTIFACTS": self.home.artifacts_url}
        with (folder / "watch.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **urls})

    def close(self, wait_s: float = 10.0) -> None:
        """Lets it remember what it did, for so long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
