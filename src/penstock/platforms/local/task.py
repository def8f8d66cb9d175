"""One attempt of a job while the pool has it: its worker, its limits, and the verdict when it is being ended early."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from penstock.platforms.contract import JobSpec, JobState
from penstock.platforms.local.workers import WorkerProcess

SAMPLE_S = 0.1
FOREVER = float("inf")


@dataclass(slots=True, eq=False)
class Task:
    """One attempt of a job in the pool. `verdict` is why the pool is ending it; `kill_at` when patience ends (monotonic seconds)."""

    job: JobSpec
    folder: Path
    python: str
    state: JobState = field(default_factory=lambda: JobState("pending"))
    worker: WorkerProcess | None = None
    began_at: float = 0.0
    deadline: float = FOREVER
    kill_at: float = FOREVER
    verdict: JobState | None = None
    peak_bytes: int = 0

    @property
    def ended(self) -> bool:
        return self.state.phase in ("succeeded", "failed", "cancelled")

    @property
    def measured(self) -> bool:
        """Whether its memory is sampled: a limit holds for the sum of its processes, and so does what it is said to have used."""
        return bool(self.job.memory_bytes) or self.job.processes > 1

    def next_look(self, now: float) -> float:
        """Seconds until a limit must be looked at again; FOREVER when only an event can matter. `now`: monotonic seconds."""
        if self.measured:
            return SAMPLE_S
        return max(0.0, min(self.kill_at, FOREVER if self.verdict else self.deadline) - now)
