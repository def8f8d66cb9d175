"""In-memory twins of the platform contracts: Jobs in threads of this process, Endpoints as rows."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from penstock.core.digests import hex_of
from penstock.core.errors import Interrupted, NotFound
from penstock.core.home import Home
from penstock.platforms.contract import (
    EndpointSpec,
    EndpointState,
    JobHandle,
    JobSpec,
    JobState,
    LogPage,
    ReplicaState,
)
from penstock.platforms.execute import execute
from penstock.platforms.failures import describe
from penstock.platforms.handed import Caller
from penstock.platforms.jobs_codec import finished
from penstock.platforms.log_lines import render
from penstock.store.artifacts import Artifacts

ENDED = ("succeeded", "failed", "cancelled")


@dataclass(slots=True)
class _Attempt:
    job: JobSpec
    state: JobState = field(default_factory=lambda: JobState("pending"))
    log: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


class MemoryJobs:
    """Jobs in threads of this process, one at a time; their states and logs live in a dictionary."""

    def __init__(self, home: Home, artifacts: Artifacts, attempts: dict[str, _Attempt] | None = None) -> None:
        """`attempts` of an earlier MemoryJobs are what a restarted control process finds."""
        self.home, self.artifacts = home, artifacts
        self.attempts: dict[str, _Attempt] = {} if attempts is None else attempts
        self._one, self._changed = threading.Lock(), threading.Event()

    def submit(self, job: JobSpec) -> JobHandle:
        reference = f"{hex_of(job.key)}/{job.attempt}"
        known = self.attempts.get(reference)
        stands = known is not None and (
            known.state.phase in ("pending", "running")
            or (known.state.phase == "succeeded" and finished(job.key, self.artifacts) is not None)
            or (known.state.phase in ("failed", "cancelled") and known.job.run == job.run and not _was_lost(known.state))
        )
        if not stands:
            attempt = self.attempts[reference] = _Attempt(job)
            threading.Thread(target=self._work, args=(attempt,), daemon=True).start()
        return JobHandle("memory", job.key, reference)

    def observe(self, handle: JobHandle) -> JobState:
        return self._attempt(handle).state

    def logs(self, handle: JobHandle, since: int = 0) -> LogPage:
        """The cursor counts bytes, as on disk."""
        text = "".join(self._attempt(handle).log).encode()[since:]
        return LogPage(tuple(text.decode().splitlines()), since + len(text))

    def cancel(self, handle: JobHandle) -> None:
        self._attempt(handle).stop.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        happened = self._changed.wait(timeout_s)
        self._changed.clear()
        return happened

    def warm(self, stages: Iterable[str] = ()) -> None:
        """Nothing to prepare."""

    def close(self) -> None:
        """Nothing is held."""

    def crash(self) -> None:
        """As if the process were killed: what runs is lost, what ended stays."""
        for attempt in self.attempts.values():
            if attempt.state.phase not in ENDED:
                attempt.stop.set()
                lost = describe(Interrupted("lost"))
                attempt.state = JobState("failed", error={**lost, "type": "WorkerLost", "transient": True})
        with self._one:
            pass  # the thread of what ran has let go of its scratch

    def _attempt(self, handle: JobHandle) -> _Attempt:
        if handle.reference not in self.attempts:
            raise NotFound(f"no job {handle.reference!r}")
        return self.attempts[handle.reference]

    def _work(self, attempt: _Attempt) -> None:
        with self._one:
            if attempt.stop.is_set():
                self._end(attempt, JobState("cancelled", error=describe(Interrupted("cancelled before it began"))))
                return
            attempt.state = JobState("running", started_at=time.time())
            try:
                caller = Caller(lambda event: attempt.log.append(render(event)), attempt.stop.is_set)
                result = execute(attempt.job, self.artifacts, self.home, caller)
                state = JobState("succeeded", result)
            except Interrupted as error:
                state = JobState("cancelled", error=describe(error))
            except Exception as error:
                state = JobState("failed", error=describe(error, attempt.job.code_path))
            self._end(attempt, state)

    def _end(self, attempt: _Attempt, state: JobState) -> None:
        if not _was_lost(attempt.state):
            attempt.state = replace(state, started_at=attempt.state.started_at, ended_at=time.time())
        self._changed.set()


def _was_lost(state: JobState) -> bool:
    return state.error is not None and state.error.get("type") == "WorkerLost"


_PLACES = itertools.count(1)


class MemoryEndpoints:
    """Replicas as rows; one becomes ready at the second `apply` after its start. `kill` ends one as a crash would.

    `unloadable`: digests of adapters that no replica can load.
    """

    def __init__(self) -> None:
        self.replicas: dict[str, dict[str, ReplicaState]] = {}
        self.unloadable: set[str] = set()
        self._place, self._next = next(_PLACES), 0

    def apply(self, desired: EndpointSpec) -> None:
        rows = self.replicas.setdefault(desired.name, {})
        for id_, row in list(rows.items()):
            if row.phase in ("failed", "draining"):
                del rows[id_]
            elif row.phase == "starting":
                rows[id_] = replace(row, phase="ready", address=f"127.0.0.1:{20000 + int(id_.rpartition('-')[2])}")
        kept: set[str] = set()
        for version in desired.versions:
            mine = [r.id for r in rows.values() if (r.version, r.bundle) == (version.version, version.bundle)]
            kept.update(mine[: version.replicas])
            for id_ in mine:
                rows[id_] = self._adapted(rows[id_], version.adapters)
            for _ in range(version.replicas - len(mine)):
                self._next += 1
                id_ = f"replica-{self._place}-{self._next}"
                rows[id_] = ReplicaState(id_, version.version, version.bundle, "starting", started_at=time.time())
                kept.add(id_)
        for id_, row in rows.items():
            if id_ not in kept:
                rows[id_] = replace(row, phase="draining", address=None)

    def _adapted(self, row: ReplicaState, wanted: Mapping[str, str]) -> ReplicaState:
        """One that cannot be loaded leaves an older one of its name where it was."""
        loaded = {n: row.adapters.get(n) if d in self.unloadable else d for n, d in wanted.items()}
        errors = {name: "it does not fit" for name, digest in wanted.items() if digest in self.unloadable}
        return replace(row, adapters={name: digest for name, digest in loaded.items() if digest}, adapter_errors=errors)

    def observe(self, name: str) -> EndpointState:
        return EndpointState(name, tuple(self.replicas.get(name, {}).values()))

    def delete(self, name: str, within_s: float | None = None) -> None:  # noqa: ARG002 (at once)
        self.replicas.pop(name, None)

    def kill(self, name: str, id_: str) -> None:
        row = self.replicas[name][id_]
        self.replicas[name][id_] = replace(row, phase="failed", address=None, error="killed")
