"""Processes that are kept running beside the gateway: the watcher of records; where they are wanted, the exporter and the sender."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from penstock.control.outside import wanting
from penstock.core.errors import DatabaseUnavailable
from penstock.core.home import Home
from penstock.serving.telemetry import wanted
from penstock.store.store import Store


@dataclass(slots=True)
class Beside:
    """`look` is called often and never waits. What is kept here takes up where it stopped, so ending it loses nothing.

    `module` runs with `arguments`, and writes to `log`; one that ended rests for `rest_s`. Not `wanted`: it is never started; not `asked`
    for now: it is asked again after `rest_s`.
    """

    module: str
    arguments: Sequence[str]
    log: Path
    wanted: bool
    rest_s: float
    environment: Mapping[str, str] = field(default_factory=dict)
    asked: Callable[[], bool] = lambda: True
    _process: subprocess.Popen[bytes] | None = None
    _due: float = 0.0

    def look(self, now: float) -> bool:
        """Starts it unless it runs or rests. `now`: seconds of the monotonic clock. True: it runs."""
        if self._process is not None and self._process.poll() is None:
            return True
        if not self.wanted or now < self._due:
            return False
        self._due, self._process = now + self.rest_s, None
        if not self.asked():
            return False
        try:
            self._process = self._started()
        except OSError as error:  # a full disk must not end the control loop
            print(f"{self.module}: {error}", file=sys.stderr, flush=True)
        return self._process is not None

    def close(self, wait_s: float = 10.0) -> None:
        """Lets it write down or send what there is, for so long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", self.module, *self.arguments]
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **self.environment})


def exporter(gateway: Path) -> Beside:
    """Wanted where the environment names a collector."""
    return Beside("penstock.serving.telemetry", ("--home", str(gateway)), gateway / "telemetry.log", wanted(os.environ), 30.0)


def watcher(home: Home) -> Beside:
    """It ends by itself when this process is gone. Without numpy there are records and no signals; `penstock doctor` says so."""
    arguments = ("--home", str(home.folder), "--parent", str(os.getpid()))
    urls = {"PENSTOCK_DATABASE": home.database_url, "PENSTOCK_ARTIFACTS": home.artifacts_url}
    log = home.folder / "monitor" / "watch.log"
    return Beside("penstock.control.watch", arguments, log, find_spec("numpy") is not None, 10.0, urls)


def sender(home: Home, store: Store) -> Beside:
    """Of metrics and of decisions on versions, to the cloud whose platform asks for them. It ends by itself when this process is gone."""

    def asked() -> bool:
        try:
            return wanting(store)
        except DatabaseUnavailable:
            return False

    arguments = ("--home", str(home.folder), "--parent", str(os.getpid()))
    urls = {"PENSTOCK_DATABASE": home.database_url, "PENSTOCK_ARTIFACTS": home.artifacts_url}
    return Beside("penstock.control.outside", arguments, home.folder / "outside.log", True, 30.0, urls, asked)
