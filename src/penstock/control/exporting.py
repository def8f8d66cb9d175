"""Keeps the OpenTelemetry exporter running beside the gateway, where the environment names a collector."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from penstock.serving.telemetry import wanted

REST_S = 30.0


class Exporting:
    """`look` is called often and never waits. The exporter takes up where it stopped, so ending it with us loses nothing."""

    def __init__(self, gateway: Path) -> None:
        self.gateway = gateway
        self._process: subprocess.Popen[bytes] | None = None
        self._due = 0.0
        self._wanted = wanted(os.environ)

    def look(self, now: float) -> bool:
        """Starts it unless it runs; one that ended rests for REST_S. `now`: seconds of the monotonic clock. True: it runs."""
        if self._process is not None and self._process.poll() is None:
            return True
        if not self._wanted or now < self._due:
            return False
        self._due = now + REST_S
        command = [sys.executable, "-m", "penstock.serving.telemetry", "--home", str(self.gateway)]
        with (self.gateway / "telemetry.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return True

    def close(self, wait_s: float = 5.0) -> None:
        """Lets it send what there is, for so long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
