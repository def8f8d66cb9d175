"""What a stage is, and what it is handed.

Layouts of the artifacts that stages exchange are in stages/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

ConfigT = TypeVar("ConfigT", contravariant=True)
Metrics = Mapping[str, float]  # flat names: "accuracy", "validation.loss", "latency.p95_ms"


class Inputs(Protocol):
    def folder(self, name: str) -> Path:
        """Verified, read-only folder of the input artifact `name`."""
        ...

    def meta(self, name: str) -> Mapping[str, Any]:
        """The `meta` of the input's manifest."""
        ...

    def digest(self, name: str) -> str: ...

    def external(self, digest: str) -> Path:
        """Verified file or folder from outside the store (a data source, a base model) whose bytes have this digest."""
        ...


class Outputs(Protocol):
    def folder(self, name: str, kind: str) -> Path:
        """An empty folder to fill; it becomes artifact `name` when the stage returns. What a failed stage wrote is dropped."""
        ...

    def describe(self, name: str, **meta: Any) -> None:
        """Adds to the `meta` of output `name`: JSON values that follow from the content, never timings."""
        ...


@dataclass(frozen=True, slots=True)
class Peers:
    """The processes that run a step together, and which of them this is. `local`: among those of this machine, so also its accelerator."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def leads(self) -> bool:
        """Its outputs, curves and checkpoints are the step's; what the others write is dropped."""
        return self.rank == 0


ALONE = Peers()


class Context(Protocol):
    """Talk to the run while working. All calls are cheap (buffered, off the hot path)."""

    @property
    def scratch(self) -> Path:
        """Folder that survives kill and retry of this very key, and goes when the step is done: checkpoints live here."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads this process may use."""
        ...

    @property
    def peers(self) -> Peers:
        """They meet by the variables that torchrun sets."""
        ...

    def log(self, message: str) -> None: ...

    def point(self, name: str, value: float, step: int) -> None:
        """One point of a curve, such as ("train.loss", 0.31, 120)."""
        ...

    def progress(self, done: float, total: float | None, unit: str, **facts: float) -> None:
        """Where the work stands: `unit` is "rows", "samples", "tokens"…; `facts` stand beside the bar (loss=…); rates are derived."""
        ...

    def stopping(self) -> bool:
        """True once the step was asked to stop (SIGTERM, cancel): save a checkpoint and raise Interrupted."""
        ...


class Stage(Protocol[ConfigT]):
    """`version` enters the key of every build: raise it when the same config and inputs would give other bytes."""

    name: str
    version: str

    def run(self, config: ConfigT, inputs: Inputs, outputs: Outputs, context: Context) -> Metrics: ...
