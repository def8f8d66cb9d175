"""A driver whose containers are processes of this machine: the twin that platforms/remote is tested by, and what emulators run things with.

Each container is a folder: `order.json`, `log`, `pid`, and `ended.json` once it is over. Faults can be planned: an answer that is lost
after the container was made, one that is not seen for a while, a machine that is taken away.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from penstock.core.errors import PlatformAway
from penstock.platforms.remote.driver import Order, Sight
from penstock.testing.patience import PATIENT_S


@dataclass(slots=True)
class Faults:
    """Of the next calls: `lose_answers`: containers are made and the call fails; `hide_s`: new ones are not seen for so long."""

    lose_answers: int = 0
    refuse: int = 0
    hide_s: float = 0.0


@dataclass(slots=True)
class Processes:
    """Containers as processes below `folder`. `environment` is added to that of each."""

    folder: Path
    platform: str = "processes"
    environment: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 5.0
    warned_s: float = 30.0  # that a machine which is taken away gives, as vendors do
    faults: Faults = field(default_factory=Faults)
    made: list[str] = field(default_factory=list)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def create(self, order: Order) -> None:
        with self._lock:
            if self.faults.refuse > 0:
                self.faults.refuse -= 1
                raise PlatformAway("the service answered 503")
            place = self.folder / order.name
            if not place.exists():
                self._start(place, order)
            if self.faults.lose_answers > 0:
                self.faults.lose_answers -= 1
                raise PlatformAway("the connection was lost before the answer came")

    def look(self, name: str) -> Sight | None:
        with self._lock:
            place = self.folder / name
            if not (place / "pid").exists() or time.time() - float((place / "began").read_text()) < self.faults.hide_s:
                return None
            self._reap(name)
            began = float((place / "began").read_text())
            with contextlib.suppress(FileNotFoundError):
                ended = json.loads((place / "ended.json").read_bytes())
                return Sight(ended["phase"], ended["reason"], began, ended["at"])
            return Sight("running", "", began)

    def tail(self, name: str) -> Sequence[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / name / "log").read_text(errors="replace").splitlines()[-20:]
        return ()

    def stop(self, name: str, grace_s: float | None = None) -> None:
        """`grace_s`: seconds until it is killed, if not those of all."""
        self._signal(name, "stopped", signal.SIGTERM, grace_s)

    def take_away(self, name: str, *, warned: bool = True) -> None:
        """As a spot machine goes: with a warning (SIGTERM), or without."""
        self._signal(name, "interrupted", signal.SIGTERM if warned else signal.SIGKILL, self.warned_s)

    def remove(self, name: str) -> None:
        """Nothing is kept that anybody pays for."""

    def left(self) -> Sequence[str]:
        with self._lock:
            for name in list(self._running):
                self._reap(name)
            return sorted(self._running)

    def close(self) -> None:
        for name in list(self._running):
            self._signal(name, "stopped", signal.SIGKILL)
            with contextlib.suppress(KeyError):
                self._running[name].wait(PATIENT_S)
            self._reap(name)

    def _start(self, place: Path, order: Order) -> None:
        place.mkdir(parents=True)
        (place / "order.json").write_text(json.dumps({**asdict(order), "environment": dict(order.environment)}))
        (place / "began").write_text(str(time.time()))
        home = {"PENSTOCK_HOME": str(place / "home"), "PENSTOCK_DATABASE": "", "PENSTOCK_ARTIFACTS": ""}
        inherited = {name: value for name, value in os.environ.items() if name not in home}
        environment = {**inherited, "PENSTOCK_HOME": home["PENSTOCK_HOME"], **order.environment, **self.environment}
        assert order.command[0] == "penstock", order.command
        with (place / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *order.command],
                env=environment,
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (place / "pid").write_text(str(process.pid))
        self._running[order.name] = process
        self.made.append(order.name)

    def _signal(self, name: str, phase: str, number: signal.Signals, grace_s: float | None = None) -> None:
        with self._lock:
            process = self._running.get(name)
            if process is None or process.poll() is not None:
                return
            (self.folder / name / "asked").write_text(phase)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        if number == signal.SIGTERM:
            threading.Thread(target=self._kill_later, args=(process, self.grace_s if grace_s is None else grace_s), daemon=True).start()

    def _kill_later(self, process: subprocess.Popen[bytes], grace_s: float) -> None:
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _reap(self, name: str) -> None:
        process = self._running.get(name)
        if process is None or process.poll() is None:
            return
        place, code = self.folder / name, process.returncode
        asked = (place / "asked").read_text() if (place / "asked").exists() else None
        phase = asked or ("succeeded" if code == 0 else "failed")
        reason = "" if code == 0 else f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
        (place / "ended.json").write_text(json.dumps({"phase": phase, "reason": reason, "at": time.time()}))
        del self._running[name]
