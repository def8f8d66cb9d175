"""The status of a run as records: what is kept in its row, read back, and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

StepPhase = Literal["waiting", "running", "cached", "succeeded", "failed", "skipped", "cancelled"]
FINISHED: frozenset[str] = frozenset({"cached", "succeeded", "failed", "skipped", "cancelled"})
DONE: frozenset[str] = frozenset({"cached", "succeeded"})


@dataclass(slots=True)
class StepState:
    """`tries` counts submissions that were the step's own fault; `attempt` counts all. Times are seconds since the epoch.

    `away_since`: since when the platform did not take it. `place`: of its placements, the one that it is at.
    """

    phase: StepPhase = "waiting"
    key: str | None = None
    attempt: int = 0
    tries: int = 0
    handle: dict[str, str] | None = None
    cursor: int = 0
    outputs: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None
    started_at: float | None = None
    retry_at: float | None = None
    progress: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    message: str | None = None
    away_since: float | None = None
    place: int = 0
    _read: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def as_json(self) -> Mapping[str, Any]:
        """What differs from a step that has not begun: the row is written at every pass, so it is kept short."""
        if self.phase == "waiting" and not self.attempt and self.message is None:
            return _UNTOUCHED
        if self._read is not None and self.phase in FINISHED and self._read["phase"] == self.phase:
            return self._read  # finished when it was read: nothing can have changed since
        values = ((name, getattr(self, name)) for name in _KEPT)
        return {"phase": self.phase} | {name: value for name, value in values if value not in (None, 0, {})}

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> StepState:
        return cls(**value, _read=value)


_KEPT = tuple(name for name in StepState.__slots__ if name not in ("phase", "_read"))
_UNTOUCHED: Mapping[str, Any] = {"phase": "waiting"}


@dataclass(slots=True)
class RunState:
    """`owner` is the process that last acted; `rebuilds` counts steps run again because an artifact was found corrupt."""

    steps: dict[str, StepState] = field(default_factory=dict)
    owner: str | None = None
    rebuilds: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    gates: list[dict[str, Any]] | None = None
    model: dict[str, Any] | None = None
    deployment: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    started_at: float | None = None
    ended_at: float | None = None

    def as_json(self) -> dict[str, Any]:
        # asdict would copy every level; the row's codec reads them once and keeps nothing.
        flat = {name: getattr(self, name) for name in RunState.__slots__}
        flat["steps"] = {name: step.as_json() for name, step in self.steps.items()}
        return flat

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> RunState:
        steps = {name: StepState.parse(step) for name, step in value.get("steps", {}).items()}
        return cls(**{**value, "steps": steps})

    def phase_of(self, step: str) -> StepPhase:
        return self.steps[step].phase

    @property
    def outputs(self) -> dict[str, Mapping[str, str]]:
        """Outputs of the steps that are done, by step name."""
        return {name: step.outputs for name, step in self.steps.items() if step.phase in DONE}
