"""Containers that serve, all in one process: for hundreds of endpoints where each replica as a process would need the memory of hundreds.

The vendor's emulator notices nothing: each has a port and is asked for its health, and answers by the bundle that its environment names.
Not covered: a replica that ends by itself, what its log says. A bundle is not fetched, so only engines without one can be served.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.core.files import write_atomic
from penstock.platforms.remote.driver import Order, Sight
from penstock.platforms.remote.replica import spec_of
from penstock.platforms.remote.told import further, told
from penstock.serving.several import WANTED
from penstock.testing.containers import Processes

PORTS = ("SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT", "PENSTOCK_SERVE_PORT")
SERVE = ("penstock", "serve")


@dataclass(slots=True)
class Together(Processes):
    """Other containers than those that serve are processes as ever."""

    _served: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def create(self, order: Order) -> None:
        if tuple(order.command) != SERVE:
            super(Together, self).create(order)
            return
        with self._lock:
            if order.name not in self._served:
                port = next(int(order.environment[name]) for name in PORTS if name in order.environment)
                serving = told(order.environment, "127.0.0.1", port)
                spec = {**spec_of(serving, Path(), Path()), **further(order.environment), "invoked": True, "ready_file": ""}
                self._served[order.name] = time.time(), spec
                self.made.append(order.name)
                self._tell()

    def look(self, name: str) -> Sight | None:
        with self._lock:
            if name in self._served:
                return Sight("running", "", self._served[name][0])
        return super(Together, self).look(name)

    def stop(self, name: str, grace_s: float | None = None) -> None:
        with self._lock:
            if self._served.pop(name, None) is not None:
                self._tell()
                return
        super(Together, self).stop(name, grace_s)

    def left(self) -> Sequence[str]:
        return sorted([*super(Together, self).left(), *self._served])

    def close(self) -> None:
        super(Together, self).close()
        with self._lock:
            self._served.clear()
            if self._process is not None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                self._process = None

    def _tell(self) -> None:
        place = self.folder / "together"
        place.mkdir(parents=True, exist_ok=True)
        wanted = {spec["id"]: spec for _, spec in self._served.values()}
        write_atomic(place / WANTED, json.dumps(wanted).encode(), sync=False)
        if wanted and (self._process is None or self._process.poll() is not None):
            with (place / "log").open("ab") as log:
                line = [sys.executable, "-m", "penstock.serving.several", str(place)]
                self._process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
