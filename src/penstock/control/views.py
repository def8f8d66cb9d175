"""What a face shows of a run: plain records, made from rows by control, drawn by the CLI and the console."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
