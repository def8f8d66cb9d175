"""The gateway from the control side: its snapshot written, its process kept alive. It needs neither to go on serving."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import psutil

from penstock.control.detached import end_process, lives, start_detached
from penstock.core.errors import PenstockError, PortTaken
from penstock.core.home import Home
from penstock.platforms.local.process import birth
from penstock.serving.snapshot import KeyEntry, KeyLimits, ModelRoute, Snapshot, read_snapshot, write_snapshot

if TYPE_CHECKING:
    from penstock.store.keys import Key
    from penstock.store.store import Store

DEFAULT_PORT = 8080
START_S = 60.0
_ours: set[tuple[int, str]] = set()


def publish(store: Store, home: Home, model: ModelRoute | None = None, *, removed: str | None = None) -> int:
    """Writes a snapshot with today's keys and `model` put in (or `removed` taken out); returns its number.

    A snapshot that would say the same is not written. Several processes may call this at once.
    """
    path = home.gateway / "snapshot.json"
    keys = tuple(_entry(key) for key in store.keys.list() if key.revoked_at is None)
    with _locked(home.gateway / "snapshot.lock"):
        now = _current(path)
        models = {m.name: m for m in now.models if m.name != removed}
        if model is not None:
            models[model.name] = model
        wanted = replace(now, models=tuple(models[name] for name in sorted(models)), keys=keys)
        if wanted == now and now.version:
            return now.version
        wanted = replace(wanted, version=now.version + 1)
        write_snapshot(path, wanted)
        return wanted.version


def put_in_force(store: Store, home: Home, within_s: float = 5.0) -> bool:
    """Publishes today's keys and waits until the gateway goes by them; False when none runs or it did not follow in time."""
    if gateway_state(home.gateway) is None:
        return False
    snapshot, deadline = publish(store, home), time.monotonic() + within_s
    while not acknowledged(home, snapshot):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _entry(key: Key) -> KeyEntry:
    from penstock.store.keys import PRIORITIES

    terms = key.terms
    period = cast('Literal["day", "month", "total"]', terms.budget_period)  # Terms checked it
    limits = KeyLimits(terms.requests_per_minute, terms.tokens_per_minute, terms.concurrency, terms.budget_usd, period)
    return KeyEntry(key.id, key.name, key.sha256, PRIORITIES.index(terms.priority), terms.models, limits, terms.training)


def present_route(home: Home, name: str) -> tuple[ModelRoute | None, bool]:
    """The published route of deployment `name`, and whether the running gateway has it; if not, it may use any earlier one."""
    snapshot = _current(home.gateway / "snapshot.json")
    model = next((model for model in snapshot.models if model.name == name), None)
    return model, acknowledged(home, snapshot.version)


_read: dict[Path, tuple[tuple[int, int, int], Snapshot]] = {}  # the last one of each place: hundreds of passes read the same


def _current(path: Path) -> Snapshot:
    try:
        found = path.stat()
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = _read.get(path)
        if known is None or known[0] != stamp:
            known = _read[path] = (stamp, read_snapshot(path))
        return known[1]
    except FileNotFoundError:
        return Snapshot(0)
    except (ValueError, KeyError, TypeError):
        # Torn or foreign: the gateway keeps the one it has in memory; its number tells where to go on.
        state = gateway_state(path.parent)
        return Snapshot(int(state.get("snapshot_version", 0)) if state else 0)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def gateway_state(folder: Path) -> dict[str, Any] | None:
    """What the running gateway says of itself, or None when none runs."""
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_bytes())
        return state if _is_ours(int(state["pid"])) else None
    except (OSError, ValueError, KeyError, psutil.Error):
        return None


def _is_ours(pid: int) -> bool:
    """Whether it runs and is a process of Penstock, which is looked up once: what it is does not change while it lives."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a dead child of ours is none
    born = birth(pid)
    if born is None:
        return False
    if (pid, born) not in _ours:
        if "penstock" not in " ".join(psutil.Process(pid).cmdline()):
            return False
        _ours.add((pid, born))
    return True


def gateway_url(home: Home) -> str | None:
    state = gateway_state(home.gateway)
    return url_of(state) if state else None


def url_of(state: Mapping[str, Any]) -> str:
    return f"{state.get('scheme', 'http')}://{state['host']}:{state['port']}"


def acknowledged(home: Home, version: int) -> bool:
    """Whether the running gateway routes by snapshot `version` or a later one."""
    state = gateway_state(home.gateway)
    return state is not None and int(state.get("snapshot_version", 0)) >= version


def ensure_gateway(home: Home, host: str, port: int | None, options: Sequence[str] = ()) -> dict[str, Any]:
    """Starts the gateway unless one runs; returns its state. Port None: the default one, or a free one where that is taken.

    `options` are more arguments of the gateway's own command line, such as its TLS files.

    Raises PortTaken, or PenstockError with the log's last lines.
    """
    state = gateway_state(home.gateway)
    if state is not None:
        return state
    if port is not None:
        return _start_gateway(home, host, port, options)
    try:
        return _start_gateway(home, host, DEFAULT_PORT, options)
    except PortTaken:
        return _start_gateway(home, host, 0, options)


def _start_gateway(home: Home, host: str, port: int, options: Sequence[str]) -> dict[str, Any]:
    home.gateway.mkdir(parents=True, exist_ok=True)
    (home.gateway / "state.json").unlink(missing_ok=True)
    arguments = ["-m", "penstock.serving.gateway", "--home", str(home.gateway), "--host", host, "--port", str(port), *options]
    log = home.gateway / "log"
    before = log.stat().st_size if log.exists() else 0  # what an earlier one said is not why this one ended
    pid = start_detached(arguments, log)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if (state := gateway_state(home.gateway)) is not None:
            return state
        if not lives(pid):
            raise _refusal(log.read_bytes()[before:], host, port)
        time.sleep(0.02)
    end_process(pid, 1.0)
    raise PenstockError(f"the gateway did not start within {START_S:.0f} s; its log is {log}")


def _refusal(said: bytes, host: str, port: int) -> PenstockError:
    tail = said.decode(errors="replace").splitlines()[-3:]
    if any("taken" in line or "in use" in line for line in tail):
        return PortTaken(f"{host}:{port} is taken by another process")
    return PenstockError(f"the gateway stopped at once: {' / '.join(tail) or 'it said nothing'}")


def stop_gateway(home: Home, wait_s: float = 10.0) -> bool:
    """Ends the gateway after what is in flight; False when none ran."""
    state = gateway_state(home.gateway)
    if state is None:
        return False
    return end_process(int(state["pid"]), wait_s)
