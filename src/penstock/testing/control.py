"""Control processes for tests: jobs run at once by the real executor, and a world can be made to crash at its n-th outside call."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from penstock.control.world import World
from penstock.core.clock import ManualClock
from penstock.core.home import Home
from penstock.platforms.contract import JobHandle, JobResult, JobSpec, JobState, LogPage
from penstock.platforms.execute import execute
from penstock.platforms.failures import describe
from penstock.platforms.handed import Caller
from penstock.store.store import Store


class Crash(BaseException):
    """Stands for kill -9: nothing in the code may catch it."""


class InlineJobs:
    """Jobs that are over when `submit` returns. `ran` counts what was executed, by step."""

    def __init__(self, store: Store, home: Home) -> None:
        self._store, self._home = store, home
        self.states: dict[str, JobState] = {}
        self.ran: list[str] = []
        self.cancelled: list[str] = []

    def submit(self, job: JobSpec) -> JobHandle:
        reference = f"{job.key}/{job.attempt}"
        if reference not in self.states:
            self.states[reference] = self._run(job)
        return JobHandle("inline", job.key, reference)

    def _run(self, job: JobSpec) -> JobState:
        self.ran.append(job.step)
        try:
            result: JobResult = execute(job, self._store.artifacts, self._home, Caller(lambda _: None, lambda: False))
        except Exception as error:
            return JobState("failed", error=describe(error, job.code_path))
        return JobState("succeeded", result=result)

    def observe(self, handle: JobHandle) -> JobState:
        lost = {"code": "step-failed", "message": "the worker is gone", "type": "WorkerLost", "transient": True}
        return self.states.get(handle.reference, JobState("failed", error=lost))

    def logs(self, handle: JobHandle, since: int = 0) -> LogPage:  # noqa: ARG002 (the contract's signature)
        return LogPage((), since)

    def cancel(self, handle: JobHandle) -> None:
        self.cancelled.append(handle.reference)

    def wait(self, timeout_s: float) -> None: ...

    def warm(self, stages: Iterable[str] = ()) -> None: ...

    def close(self) -> None: ...


class CrashAt:
    """Calls through to `target`; raises Crash instead of, or just after, the n-th call of a method that touches the outside."""

    def __init__(self, target: Any, countdown: list[int], methods: frozenset[str]) -> None:
        self._target, self._countdown, self._methods = target, countdown, methods

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name not in self._methods:
            return value

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._countdown[0] -= 1
            if self._countdown[0] == 0:
                raise Crash
            result = value(*args, **kwargs)
            self._countdown[0] -= 1
            if self._countdown[0] == 0:
                raise Crash
            return result

        return counted


TOUCHING = {
    "builds": frozenset({"claim", "record", "unclaim", "invalidate", "renew"}),
    "resources": frozenset({"save", "take", "release", "create", "set_spec"}),
    "events": frozenset({"add"}),
    "registry": frozenset({"register", "set_alias", "set_state", "record_live"}),
}


class Bench:
    """One database, one artifact store, one clock; any number of control processes (worlds), each with an owner of its own."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.home = Home(folder / "home", f"sqlite:///{folder / 'home' / 'penstock.db'}", (folder / "home" / "artifacts").as_uri())
        self.store = Store.open(self.home, self.clock)
        self.count = 0

    def world(self, *, crash_at: int = 0) -> World:
        """A new control process. `crash_at` n > 0: it dies at the n-th point around its outside calls."""
        self.count += 1
        store: Any = self.store
        jobs: Any = InlineJobs(self.store, self.home)
        if crash_at:
            countdown = [crash_at]
            parts = {name: getattr(self.store, name) for name in Store.__slots__ if name != "__weakref__"}
            wrapped = {name: CrashAt(parts[name], countdown, methods) for name, methods in TOUCHING.items()}
            store = Store(**{**parts, **wrapped})
            jobs = CrashAt(jobs, countdown, frozenset({"submit"}))
        world = World(store, self.home, f"elsewhere/{self.count}:1:1", self.clock)
        world._jobs["laptop"] = jobs
        return world

    def close(self) -> None:
        self.store.close()
