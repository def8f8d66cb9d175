"""Pipeline systems of vendors: what a step becomes there, and the start of a whole pipeline. `WORKFLOWS.load(kind)` is a Workflows."""

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
