"""The background process: the control loop, and an eye on the gateway. One per home; replicas and gateway outlive it.

`penstock up` starts it, `penstock down` ends it with gateway and replicas. Killed, it leaves everything serving;
started again, it takes up what runs.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from penstock.control.beside import exporter, sender, watcher
from penstock.control.compaction import Compaction
from penstock.control.detached import end_process, lives, start_detached
from penstock.control.gateway import ensure_gateway, gateway_state, publish, stop_gateway
from penstock.control.leaving import leave_platforms
from penstock.control.loop import RETRY_S, idle, reconcilers, tick
from penstock.control.world import World, open_world
from penstock.core.errors import Conflict, DatabaseUnavailable, DiskFull, PenstockError
from penstock.core.files import write_atomic
from penstock.core.home import Home
from penstock.platforms.remote.bridges import stop_bridges

HOUSEKEEPING_S = 1.0
START_S = 90.0  # one that ended is told at once: this is for one that hangs, and a busy machine is slow
LOG_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """`port` 0: any free one; None: the default one, or a free one where that is taken. TLS when both files are given."""

    host: str = "127.0.0.1"
    port: int | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def options(self) -> list[str]:
        """Of the command lines of gateway and background process."""
        given = {"--tls-cert": self.tls_cert, "--tls-key": self.tls_key}
        return [word for name, path in given.items() if path is not None for word in (name, str(path.absolute()))]


def state_file(home: Home) -> Path:
    return home.folder / "up.json"


def control_state(home: Home) -> dict[str, Any] | None:
    """pid and start of the running background process, or None."""
    try:
        state: dict[str, Any] = json.loads(state_file(home).read_bytes())
        process = psutil.Process(int(state["pid"]))
        alive = lives(process.pid) and abs(process.create_time() - float(state["created"])) < 1.0
    except (OSError, ValueError, KeyError, psutil.Error):
        return None
    return state if alive else None


def serve(home: Home, address: Address) -> None:
    """Runs the loop until SIGTERM. Raises Conflict when one runs already, PortTaken when the gateway cannot listen."""
    lock = _only_one(home)
    world = open_world(home)
    try:
        publish(world.store, home)
        gateway = ensure_gateway(home, address.host, address.port, address.options)
        # A gateway that has to be started again must come back where its clients know it.
        address = replace(address, host=gateway["host"], port=int(gateway["port"]))
        created = psutil.Process().create_time()
        state = {"pid": os.getpid(), "created": created, "host": address.host, "port": address.port}
        write_atomic(state_file(home), json.dumps(state).encode())
        _loop(world, address)
    finally:
        world.close()
        world.store.close()
        os.close(lock)


def _only_one(home: Home) -> int:
    """A descriptor that holds the lock for as long as it is open."""
    home.folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(home.folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Conflict(f"another background process holds {home.folder}", remedy="Use it, or `penstock down` first.") from None
    return lock


def _held(home: Home) -> bool:
    """Whether some process has the lock: then one that started at the same time came first, and is on its way up."""
    lock = os.open(home.folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _loop(world: World, address: Address) -> None:
    asked = {"stop": False}
    signal.signal(signal.SIGTERM, lambda *_: asked.update(stop=True))
    signal.signal(signal.SIGINT, lambda *_: asked.update(stop=True))
    table, looked = reconcilers(), 0.0
    gateway = world.home.gateway
    beside = (Compaction(gateway / "records", gateway / "log"), exporter(gateway), watcher(world.home), sender(world.home, world.store))
    try:
        while not asked["stop"]:
            now = world.clock.monotonic()
            if now - looked >= HOUSEKEEPING_S:
                looked = now
                _housekeeping(world, address)
                for helper in beside:
                    helper.look(now)
            try:
                pause = tick(world, table)
            except DatabaseUnavailable as error:
                print(f"database: {error}", file=sys.stderr, flush=True)
                pause = RETRY_S
            if pause:
                idle(pause, world)
    finally:
        for helper in beside:
            helper.close()


def _housekeeping(world: World, address: Address) -> None:
    try:
        publish(world.store, world.home)
        ensure_gateway(world.home, address.host, address.port, address.options)
    except PenstockError as error:
        print(f"gateway: {error}", file=sys.stderr, flush=True)


def ensure_up(home: Home, address: Address | None = None) -> dict[str, Any]:
    """Starts the background process unless it runs; returns {"control": …, "gateway": …}. Raises what stopped it."""
    if control_state(home) is None:
        _start(home, address or Address())
    state = control_state(home)
    gateway = gateway_state(home.gateway)
    if state is None or gateway is None:
        raise PenstockError(f"the background process ended at once; its log is {home.folder / 'up.log'}")
    return {"control": state, "gateway": gateway}


def _start(home: Home, address: Address) -> None:
    home.folder.mkdir(parents=True, exist_ok=True)
    arguments = ["-m", "penstock", "up", "--foreground", "--host", address.host]
    arguments += [] if address.port is None else ["--port", str(address.port)]
    arguments += address.options
    log_file = home.folder / "up.log"
    before = log_file.stat().st_size if log_file.exists() else 0
    urls = {"PENSTOCK_HOME": str(home.folder), "PENSTOCK_DATABASE": home.database_url, "PENSTOCK_ARTIFACTS": home.artifacts_url}
    pid = start_detached(arguments, log_file, urls)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if control_state(home) is not None and gateway_state(home.gateway) is not None:
            return
        if not lives(pid) and not _held(home):
            said = log_file.read_bytes()[before:].decode(errors="replace").strip()
            if not said and shutil.disk_usage(home.folder).free < LOG_BYTES:
                raise DiskFull(f"no space left at {home.folder}: the background process could not even write its log")
            raise PenstockError(f"the background process stopped at once: {said or 'it said nothing'}", remedy=f"Its log is {log_file}.")
        time.sleep(0.02)
    raise PenstockError(f"the background process did not start within {START_S:.0f} s; its log is {log_file}")


def down(home: Home) -> dict[str, Any]:
    """Ends control process, replicas and gateway, in that order. Says what it ended; nothing runs is no error."""
    state = control_state(home)
    stopped = end_process(int(state["pid"]), 15.0) if state else False
    state_file(home).unlink(missing_ok=True)
    gateway = stop_gateway(home)
    replicas = _stop_replicas(home) + stop_bridges(home)
    return {"control": stopped, "gateway": gateway, "replicas": replicas, **leave_platforms(home)}


def _stop_replicas(home: Home) -> int:
    """Ends every replica under this home, whatever deployment it belongs to; deployments keep their spec for the next `up`."""
    from penstock.platforms.local.endpoints import LocalEndpoints
    from penstock.store.store import Store

    if not home.replicas.is_dir():
        return 0
    store = Store.open(home)
    try:
        endpoints = LocalEndpoints(home, store.artifacts, {})
        names = sorted(p.name for p in home.replicas.iterdir() if p.is_dir())
        count = sum(len(endpoints.observe(name).replicas) for name in names)
        for name in names:
            endpoints.delete(name)
        return count
    finally:
        store.close()
