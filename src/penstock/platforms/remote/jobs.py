"""Jobs on a platform that is not this machine: one container an attempt, by a driver; state and log by what it leaves in the store.

Which container an attempt is stands in the store before it is asked for, so a control process that was killed, or whose answer was lost,
asks for the same one again. The completion marker says that a job succeeded, whatever the vendor says; the vendor says that one ended.
Not covered: listing what somebody else started under our labels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.core.errors import Interrupted, NotFound, PlatformFull, PlatformLacks, StepFailed, StepTransient
from penstock.platforms.contract import JobHandle, JobSpec, JobState, LogPage
from penstock.platforms.failures import error_json
from penstock.platforms.jobs_codec import finished, publish
from penstock.platforms.remote.carrying import carried
from penstock.platforms.remote.driver import Driver, Order, Sight
from penstock.platforms.remote.machines import Machine
from penstock.platforms.remote.notes import Placed, failure, log_note, place, placed, reference_of

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

UNSEEN_S = 120.0  # for which a container that was asked for may not be seen yet
POLL_S = 2.0
CLOSING_S = 10.0
_ENDED = ("succeeded", "failed", "stopped", "interrupted")


@dataclass(slots=True)
class RemoteJobs:
    """`machine_for` chooses a machine type, or raises PlatformLacks; `environment` is what the container is told beside its job."""

    driver: Driver
    home: Home
    artifacts: Artifacts
    machine_for: Callable[[JobSpec], Machine]
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    poll_s: float = POLL_S
    woken: Callable[[float], object] = time.sleep  # returns early when the vendor told of a change
    let_go: Callable[[], object] = lambda: None  # of what the driver holds
    _ends: dict[str, JobState] = field(default_factory=dict)
    _done_at: dict[str, float] = field(default_factory=dict)

    def submit(self, job: JobSpec) -> JobHandle:
        """Starts `job` unless this attempt runs or ended; one that ended in an earlier run may be tried again by a new one.

        Raises PlatformLacks, PlatformDenied, PlatformFull, PlatformAway, SourceUnreadable.
        """
        if "://" not in self.artifacts.url or self.artifacts.url.startswith("file://"):
            self._require_shared()
        reference = reference_of(job.key, job.attempt)
        handle = JobHandle(self.driver.platform, job.key, reference)
        if finished(job.key, self.artifacts) is not None:
            return handle
        known = placed(self.artifacts, reference)
        if known is not None and self._stands(job, known, reference):
            return handle
        number = 0 if known is None else known.number if self._never_came(known) else known.number + 1
        order = Placed(name_of(job, number), job.run, number, self.clock())
        machine = self.machine_for(job)
        uri = publish(carried(job, self.artifacts, self.home.folder / "scratch"), self.artifacts, self.artifacts.url)
        place(self.artifacts, reference, order)
        self._ends.pop(reference, None)
        command = ("penstock", "exec", uri, "--remote", order.name)
        labels = {**self.labels, "penstock-run": job.run, "penstock-step": job.step, "penstock-key": job.key[-63:]}
        placing = (job.nodes, job.spot, job.timeout_s, labels, job.processes)
        self.driver.create(Order(order.name, command, self.environment, machine, *placing))
        return handle

    def observe(self, handle: JobHandle) -> JobState:
        """Raises NotFound for a job that was never submitted."""
        if handle.reference in self._ends:
            return self._ends[handle.reference]
        order = placed(self.artifacts, handle.reference)
        result = finished(handle.key, self.artifacts)
        if order is None and result is None:
            raise NotFound(f"no job {handle.reference!r} was submitted to {self.driver.platform}")
        sight = None if order is None else self.driver.look(order.name)
        if result is not None and sight is not None and sight.phase not in _ENDED and self._closing(handle):
            return JobState("running", started_at=sight.started_at)
        if result is not None:
            started = sight.started_at if sight is not None and sight.started_at else (order.at if order else self.clock())
            ended = (sight.ended_at if sight is not None else None) or self.clock()
            if order is not None and sight is not None and sight.phase in _ENDED:
                self.driver.remove(order.name)
            return self._end(handle, JobState("succeeded", result, started_at=started, ended_at=ended))
        assert order is not None
        if sight is None:
            return JobState("pending") if self._young(order) else self._lost(handle, "it is not there any more")
        if sight.phase not in _ENDED:
            return JobState("running" if sight.phase == "running" else "pending", started_at=sight.started_at)
        return self._ended(handle, order, sight)

    def logs(self, handle: JobHandle, since: int = 0) -> LogPage:
        """The cursor counts pieces of the log."""
        order, lines, piece = placed(self.artifacts, handle.reference), list[str](), since
        while order is not None and (data := self.artifacts.get_note(log_note(handle.reference, order.name, piece))) is not None:
            lines += data.decode("utf-8", "replace").splitlines()
            piece += 1
        return LogPage(tuple(lines), piece)

    def cancel(self, handle: JobHandle) -> None:
        order = placed(self.artifacts, handle.reference)
        if order is not None and finished(handle.key, self.artifacts) is None:
            self.driver.stop(order.name)

    def wait(self, timeout_s: float) -> None:
        self.woken(min(timeout_s, self.poll_s))

    def warm(self, stages: Iterable[str] = ()) -> None:
        """Machines are not rented ahead."""

    def close(self) -> None:
        self.let_go()

    def _stands(self, job: JobSpec, known: Placed, reference: str) -> bool:
        """Whether this attempt needs no start: it runs, or it ended and that still counts for this run."""
        sight = self.driver.look(known.name)
        if sight is None:
            return False
        if sight.phase not in _ENDED:
            return True
        lost = sight.phase in ("interrupted", "succeeded")  # taken away, or gone with its outputs: it is asked for anew
        return known.run == job.run and not lost and failure(self.artifacts, reference, known.name) is not None

    def _never_came(self, known: Placed) -> bool:
        """A container that was asked for and never seen keeps its name: it may still come."""
        return self.driver.look(known.name) is None and self._young(known)

    def _closing(self, handle: JobHandle) -> bool:
        """Its result stands, its container still sends the last lines of its log: it is given CLOSING_S for that."""
        return self.clock() - self._done_at.setdefault(handle.reference, self.clock()) < CLOSING_S

    def _young(self, order: Placed) -> bool:
        return self.clock() - order.at < UNSEEN_S

    def _ended(self, handle: JobHandle, order: Placed, sight: Sight) -> JobState:
        said = failure(self.artifacts, handle.reference, order.name)
        began, over = sight.started_at, sight.ended_at
        if sight.phase == "stopped":
            error = error_json(Interrupted(f"{order.name} was stopped"), "Interrupted", transient=False)
            return self._end(handle, JobState("cancelled", None, error, began, over))
        if sight.phase == "interrupted":
            return self._lost(handle, f"its machine was taken away ({sight.reason or 'no reason was given'})", sight)
        known = sight.failure is not StepFailed  # the vendor ended it: that its process was asked to stop says less
        if said is not None and said.get("code") == Interrupted.code and not known:
            return self._lost(handle, "it was asked to stop, and not by us", sight)
        if said is not None and not known:
            return self._end(handle, JobState("failed", None, said, began, over))
        if sight.phase == "succeeded":
            return self._lost(handle, "it ended well, but its outputs are not in the store", sight)
        tail = "\n".join(list(self.driver.tail(order.name))[-8:])
        message = f"{order.name} ended on {self.driver.platform}: {sight.reason or 'no reason was given'}"
        error = error_json(sight.failure(f"{message}\n{tail}".rstrip()), transient=sight.failure is PlatformFull)
        return self._end(handle, JobState("failed", None, error, began, over))

    def _lost(self, handle: JobHandle, why: str, sight: Sight | None = None) -> JobState:
        """Not remembered: the attempt may be started anew under the same handle."""
        error = error_json(
            StepTransient(f"job {handle.reference[:12]} on {self.driver.platform} was lost: {why}"), "WorkerLost", transient=True
        )
        return JobState("failed", error=error, started_at=sight.started_at if sight else None, ended_at=sight.ended_at if sight else None)

    def _end(self, handle: JobHandle, state: JobState) -> JobState:
        self._ends[handle.reference] = state
        return state

    def _require_shared(self) -> None:
        if not self.environment.get("PENSTOCK_SHARED_STORE"):
            raise PlatformLacks(
                f"{self.driver.platform} cannot reach the artifact store at {self.artifacts.url}, which lies on this machine",
                remedy="Point PENSTOCK_ARTIFACTS at a bucket that the platform can read and write.",
            )


def name_of(job: JobSpec, number: int) -> str:
    """At most 63 of a-z, 0-9 and '-': what every vendor takes."""
    step = "".join(c if c.isalnum() else "-" for c in job.step.lower()).strip("-")[:20].rstrip("-") or "step"
    again = f"-{number}" if number else ""
    return f"penstock-{step}-{job.key.removeprefix('sha256:')[:16]}-{job.attempt}{again}"
