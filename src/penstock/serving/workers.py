"""Several gateway processes behind one socket: `--workers N`.

The first process listens, hands the socket to N workers, starts again those that die, and says in `state.json` which snapshot is in force
in all of them. Workers leave their counts in `workers/<n>.json` twice a second, so that whoever answers `/metrics` tells the sum.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from penstock.core.files import write_atomic
from penstock.serving.tls import Certificate

log = logging.getLogger("penstock.gateway")
LOOK_S, REST_S = 0.1, 0.5


class Supervisor:
    """Keeps `count` workers on `listener` until told to stop."""

    def __init__(self, folder: Path, listener: socket.socket, count: int, certificate: Certificate | None = None) -> None:
        self.folder, self.listener, self.count, self.certificate = folder, listener, count, certificate
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._stopping = False
        self._announced = -1
        self._started = time.time()

    def run(self) -> int:
        """Returns when all workers ended after SIGTERM or SIGINT: 0, or 1 when one ended badly then."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        for file in (self.folder / "workers").glob("*.json"):
            file.unlink()
        while not self._stopping:
            self._keep()
            self._announce()
            time.sleep(LOOK_S)
        self.listener.close()
        for process in self._running.values():
            process.terminate()
        ended = [process.wait() for process in self._running.values()]
        return 0 if all(code in (0, -signal.SIGTERM) for code in ended) else 1  # the latter: one that had not begun

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is the signal module's
        self._stopping = True

    def _keep(self) -> None:
        for worker in range(self.count):
            process = self._running.get(worker)
            if process is not None and process.poll() is None:
                continue
            if process is not None:
                log.error("worker %d ended with %d; another one starts", worker, process.returncode)
                time.sleep(REST_S)
            handle = self.listener.fileno()
            command = [sys.executable, "-m", "penstock.serving.gateway", "--home", str(self.folder), "--socket", str(handle)]
            if self.certificate is not None:
                command += ["--tls-cert", str(self.certificate.chain), "--tls-key", str(self.certificate.key)]
            self._running[worker] = subprocess.Popen([*command, "--worker", str(worker), "--processes", str(self.count)], pass_fds=[handle])

    def _announce(self) -> None:
        told = read_counts(self.folder)
        mine = {str(process.pid) for process in self._running.values()}
        versions = [counts["snapshot_version"] for counts in told.values() if str(counts["pid"]) in mine]
        if len(versions) < self.count or min(versions) == self._announced:
            return
        self._announced = min(versions)
        host, port = self.listener.getsockname()[:2]
        scheme = "http" if self.certificate is None else "https"
        state = {
            "pid": os.getpid(),
            "scheme": scheme,
            "host": host,
            "port": port,
            "started": self._started,
            "snapshot_version": self._announced,
        }
        write_atomic(self.folder / "state.json", json.dumps({**state, "workers": self.count}).encode(), sync=False)


def write_counts(folder: Path, worker: int, counts: Mapping[str, Any]) -> None:
    """`counts` has `pid`, `snapshot_version` and `series` (see RequestMetrics.dump)."""
    write_atomic(folder / "workers" / f"{worker}.json", json.dumps(counts).encode(), sync=False)


def read_counts(folder: Path) -> dict[int, dict[str, Any]]:
    """What each worker said last."""
    found = {}
    for file in (folder / "workers").glob("*.json"):
        try:
            found[int(file.stem)] = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue
    return found
