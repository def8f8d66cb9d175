"""What a step may use, where it goes without room, and how it is tried again: `options.<step>` and the same keys of a user's step."""

from __future__ import annotations

from pydantic import Field, model_validator

from penstock.spec.platforms.accelerators import Gpu
from penstock.spec.types import Bytes, Name, Record, Seconds


def chosen(record: Record) -> list[str]:
    """Names of the fields of a one-of record that were given."""
    return [name for name in type(record).model_fields if getattr(record, name) is not None]


class Placement(Record):
    """Where a step goes when the place before it has no room. What is not said is as in the step's own `resources`.

    `on`: a platform of the file that reads the same artifacts. A `machine` is not taken over to another platform or other needs.
    """

    on: Name | None = None
    cpus: float | None = Field(default=None, gt=0)
    memory: Bytes | None = Field(default=None, gt=0)
    gpus: int | None = Field(default=None, ge=0)
    gpu: Gpu | None = None
    nodes: int | None = Field(default=None, ge=1)
    processes: int | None = Field(default=None, ge=1)
    spot: bool | None = None
    machine: str | None = None

    @model_validator(mode="after")
    def _another(self) -> Placement:
        if not chosen(self):
            raise ValueError("say what is different there, such as `spot: false` or `machine: …`")
        if self.gpus and self.gpu is not None:
            raise ValueError("`gpus` and `gpu` say the same thing; write one of them")
        return self


class Resources(Record):
    """`nodes` machines run the step together; `spot`: on ones that may be taken away; `machine`: the platform's own name of a type.

    `processes` on each machine: training starts one for each accelerator, anything else one.
    `otherwise`: placements in the order in which they are tried when there is no room.
    """

    cpus: float | None = Field(default=None, gt=0)
    memory: Bytes | None = Field(default=None, gt=0, description="bytes; the step is killed beyond it")
    gpus: int = Field(default=0, ge=0)
    gpu: Gpu | None = None
    nodes: int = Field(default=1, ge=1)
    processes: int | None = Field(default=None, ge=1, description="on each node; default: one for each accelerator of training, else one")
    spot: bool = False
    machine: str | None = None
    otherwise: tuple[Placement, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Resources:
        if self.gpus and self.gpu is not None:
            raise ValueError("`gpus` and `gpu` say the same thing; write one of them")
        if self.accelerators and (self.processes or 1) > self.accelerators:
            raise ValueError(f"{self.processes} processes on {self.accelerators} accelerators: each needs one of its own")
        return self

    @property
    def accelerators(self) -> int:
        """Of a node."""
        return self.gpu.count if self.gpu is not None else self.gpus


class Retry(Record):
    """Only transient errors are retried: StepTransient, a killed worker, and the exception names given in `on`."""

    attempts: int = Field(default=3, ge=1)
    backoff: Seconds = 1.0
    on: tuple[str, ...] = ()


class StepOptions(Record):
    timeout: Seconds | None = Field(default=None, gt=0)
    retry: Retry = Retry()
    resources: Resources = Resources()
