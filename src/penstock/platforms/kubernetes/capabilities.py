"""What a cluster can do as a platform, and what it cannot, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.core.errors import PlatformLacks
from penstock.platforms.contract import JobSpec


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`lacks` maps a capability's name to the reason."""

    has: frozenset[str]
    lacks: Mapping[str, str]


CAPABILITIES = Capabilities(
    frozenset(
        {"jobs", "endpoints", "timeout", "memory_limit", "cancel", "logs", "gpus", "gpu_types", "nodes", "spot", "machines", "autoscale"}
        | {"isolation"}
    ),
    {
        "environments": "a pod runs its image as it is: pinned requirements of a step go into an image of its own",
        "warm": "pods start when a step is submitted; nothing is kept warm",
    },
)


def refuse_impossible(job: JobSpec) -> None:
    """Raises PlatformLacks for what no cluster can do for us."""
    if job.environment:
        raise PlatformLacks(
            f"step {job.step!r} has an `environment` of its own; {CAPABILITIES.lacks['environments']}",
            remedy="Build an image with those requirements and name it as `image` of a second platform entry, or run the step locally.",
        )
