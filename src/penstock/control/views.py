"""What a face shows of a run: plain records, made from rows by control, drawn by the CLI and the console."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from penstock.store.resources import Resource

StepPhase = Literal["waiting", "cached", "running", "succeeded", "failed", "skipped", "cancelled"]


@dataclass(frozen=True, slots=True)
class StepView:
    """`done` of `total` in `unit` ("rows", "samples", "tokens"); `rate` in `unit` per second; `facts` stand beside the bar (loss=0.31)."""

    name: str
    phase: StepPhase = "waiting"
    done: float = 0.0
    total: float | None = None
    unit: str = ""
    rate: float | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    eta_s: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class GateView:
    gate: str
    passed: bool | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ModelView:
    name: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class DeploymentView:
    name: str
    url: str


@dataclass(frozen=True, slots=True)
class RunView:
    """`phase` is the run resource's; `seconds` since the run began; steps in the order of the plan."""

    id: str
    pipeline: str
    phase: str
    steps: tuple[StepView, ...] = ()
    gates: tuple[GateView, ...] = ()
    model: ModelView | None = None
    deployment: DeploymentView | None = None
    seconds: float = 0.0


class Viewer:
    """Makes views of one run from its rows; remembers where each step's progress began, so that a resumed step's rate is right."""

    def __init__(self) -> None:
        self._first: dict[
            tuple[str, str | None, str], tuple[float, float]
        ] = {}  # step, key, unit → done and time of the first progress seen

    def view(self, run: Resource, now: float) -> RunView:
        """`now` in seconds since the epoch, by the same clock as the rows."""
        status = run.status
        steps = tuple(self._step(name, step, now) for name, step in status.get("steps", {}).items())
        gates = tuple(GateView(g["gate"], g.get("passed"), g.get("reason") or "") for g in status.get("gates") or ())
        model, deployment = status.get("model"), status.get("deployment")
        began, ended = status.get("started_at") or run.created_at, status.get("ended_at")
        return RunView(
            run.id,
            run.name,
            run.phase,
            steps,
            gates,
            ModelView(model["name"], model["version"], model["digest"]) if model else None,
            DeploymentView(deployment["name"], deployment.get("url") or "") if deployment else None,
            max(0.0, (ended or now) - began),
        )

    def _step(self, name: str, step: Mapping[str, Any], now: float) -> StepView:
        phase, progress = step.get("phase", "waiting"), step.get("progress") or {}
        done, total, unit = float(progress.get("done") or 0.0), progress.get("total"), str(progress.get("unit") or "")
        seconds = float(step.get("seconds") or 0.0)
        if phase == "running" and step.get("started_at"):
            seconds = max(0.0, now - step["started_at"])
        at = float(progress.get("at") or now)
        rate = None
        if progress:
            began, since = self._first.setdefault((name, step.get("key"), unit), (done, at))
            rate = (done - began) / (at - since) if at > since and done > began else None
        left = (float(total) - done) / rate if rate and total else None
        message = step.get("message") or (step.get("error") or {}).get("message") or ""
        facts = {str(k): float(v) for k, v in (progress.get("facts") or {}).items()}
        return StepView(name, phase, done, total, unit, rate, facts, seconds, left, message)
