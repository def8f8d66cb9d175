"""Pipeline systems of vendors: what a step becomes there, and the start of a whole pipeline.

`WORKFLOWS.load(kind)` is a Workflows (pipelines of Kubeflow's form), `STATE_MACHINES.load(kind)` is a StateMachines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from penstock.core.errors import PlatformLacks
from penstock.core.plugins import Row, Table
from penstock.platforms.contract import JobSpec


@dataclass(frozen=True, slots=True)
class Container:
    """What runs a step. `left_out`: what the step asks for and the system has no word for, each with what happens instead."""

    image: str
    environment: Mapping[str, str]
    cpus: float
    memory_gb: float
    accelerator: str | None = None
    accelerators: int = 0
    left_out: Sequence[str] = ()


class Workflows(Protocol):
    """`settings`: the platform's section of the pipeline file, as JSON values."""

    def container(self, job: JobSpec, settings: Mapping[str, Any]) -> Container:
        """Asks nobody. Raises PlatformLacks for a step that can never run there."""
        ...

    def start(self, name: str, document: Mapping[str, Any], store: str, settings: Mapping[str, Any]) -> str:
        """Starts the PipelineSpec `document` under a `name` that is used once, ever; gives what finds it there.

        `store`: URL of the artifact store. Raises PlatformLacks, PlatformDenied, PlatformFull, PlatformAway, BadInput.
        """
        ...


WORKFLOWS = Table("pipeline system", {"vertex": Row("penstock.platforms.vertex.pipelines:PIPELINES", "vertex")})


def workflows_of(platform: str, kind: str) -> Workflows:
    """Raises PlatformLacks for a kind of platform that has no pipelines of its own."""
    if kind not in WORKFLOWS.names():
        raise PlatformLacks(
            f"platform {platform!r} is `kind: {kind}`, which runs no pipelines of Kubeflow's form here",
            remedy=f"Name a platform of the file with --on whose kind is one of: {', '.join(WORKFLOWS.names())}.",
        )
    found: Workflows = WORKFLOWS.load(kind)
    return found


@dataclass(frozen=True, slots=True)
class Start:
    """What starts a state machine unasked. `schedule`: an expression, `rate(1 day)` or `cron(0 6 * * ? *)`, in `timezone`.

    Or `bucket` with objects that are new there: `keys` by name, or all whose name begins with `prefix`.
    """

    schedule: str = ""
    timezone: str = "UTC"
    bucket: str = ""
    prefix: str = ""
    keys: Sequence[str] = ()

    def shown(self) -> str:
        if self.schedule:
            return f"{self.schedule} {self.timezone}"
        return (
            f"new objects s3://{self.bucket}/{self.prefix or '*'}" if not self.keys else f"new s3://{self.bucket}/ {', '.join(self.keys)}"
        )


@dataclass(frozen=True, slots=True)
class Applied:
    """`machine`: its ARN; `version`: what to start so that exactly this definition runs. `did`: in words, what was made or changed."""

    machine: str
    version: str
    did: Sequence[str]


class StateMachines(Protocol):
    """`store`: URL of the artifact store. All raise PlatformLacks, PlatformDenied, PlatformFull, PlatformAway, BadInput."""

    def request(self, job: JobSpec, uri: str, settings: Mapping[str, Any], store: str) -> dict[str, Any]:
        """The call that runs `penstock exec URI --given` for the step, as a job of `kind` has it. Asks nobody."""
        ...

    def apply(
        self, pipeline: str, definition: Mapping[str, Any], starts: Sequence[Start], settings: Mapping[str, Any], store: str
    ) -> Applied:
        """The machine of the pipeline and its starts are as given, whatever was there: idempotent."""
        ...

    def start(self, applied: Applied, name: str, settings: Mapping[str, Any]) -> str:
        """Starts it under a `name` that is used once, ever; gives the execution's ARN."""
        ...

    def remove(self, pipeline: str, settings: Mapping[str, Any], store: str) -> Sequence[str]:
        """Stops what runs of it, takes away its starts and the machine; says what went. Nothing there is no error."""
        ...


STATE_MACHINES = Table("state machines", {"sagemaker": Row("penstock.platforms.sagemaker.workflows:STEP_FUNCTIONS", "sagemaker")})


def state_machines_of(platform: str, kind: str) -> StateMachines:
    """Raises PlatformLacks for a kind of platform that has none."""
    if kind not in STATE_MACHINES.names():
        raise PlatformLacks(
            f"platform {platform!r} is `kind: {kind}`, which has no state machines",
            remedy=f"Name a platform of the file with --on whose kind is one of: {', '.join(STATE_MACHINES.names())}.",
        )
    found: StateMachines = STATE_MACHINES.load(kind)
    return found
