"""A replica of one's own: the process that would serve the bundle online, on loopback, for as long as a batch runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from penstock.core.errors import ReplicaFailed
from penstock.core.files import write_atomic
from penstock.serving.address import Address
from penstock.serving.client import Client

START_S = 300.0
# Ends the replica when this process is gone, even by SIGKILL: Linux sends the signal that was asked for (PR_SET_PDEATHSIG is 1).
_TIED = (
    "import ctypes, os, runpy, sys; ctypes.CDLL(None).prctl(1, 9); os.getppid() == int(sys.argv.pop(1)) or sys.exit(1);"
    " runpy.run_module('penstock.serving.replica', run_name='__main__', alter_sys=True)"
)


@dataclass(slots=True)
class OwnReplica:
    """Use as an async context manager; `client` asks it. `start` again after it was lost."""

    spec: dict[str, Any]
    folder: Path
    connections: int
    timeout_s: float = 600.0
    client: Client | None = None
    process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> OwnReplica:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts and waits until it is ready. Raises ReplicaFailed with what it said."""
        await self.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        ready, file, log = self.folder / "ready.json", self.folder / "replica.json", self.folder / "replica.log"
        ready.unlink(missing_ok=True)
        write_atomic(file, orjson.dumps({**self.spec, "ready_file": str(ready)}))
        command = [sys.executable, "-c", _TIED, str(os.getpid()), "--spec", str(file)]
        with log.open("ab") as said:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        for _ in range(int(START_S / 0.02)):
            if ready.exists():
                break
            if self.process.poll() is not None:
                break
            await asyncio.sleep(0.02)
        facts = json.loads(ready.read_bytes()) if ready.exists() else {}
        if "port" not in facts:
            told = facts.get("error", {}).get("message") or _tail(log)
            await self.stop()
            raise ReplicaFailed(f"the replica of this batch did not start: {told}")
        address = Address.of(f"http://{facts['host']}:{facts['port']}")
        self.client = Client(address, connections=self.connections, timeout_s=self.timeout_s)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def stop(self) -> None:
        if self.client is not None:
            await self.client.close()
            self.client = None
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self.process.wait, 15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


def _tail(log: Path) -> str:
    return " / ".join(log.read_text("utf-8", "replace").splitlines()[-3:]) if log.exists() else "it said nothing"
