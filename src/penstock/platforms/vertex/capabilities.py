"""What Vertex AI can do as a platform, and what it cannot, each with its reason."""

from __future__ import annotations

from penstock.core.errors import PlatformLacks
from penstock.platforms.contract import JobSpec
from penstock.platforms.remote.machines import Machine, choose, need_of
from penstock.platforms.vertex.machines import TRAINING

HAS = frozenset(
    (
        *("jobs", "timeout", "cancel", "logs", "environments", "gpus", "gpu_types", "tpu", "machines", "nodes", "spot"),
        *("endpoints", "adapters", "autoscale", "isolation"),
    )
)
LACKS = {
    "memory_limit": "a step has its machine to itself; a machine with that much memory is chosen",
    "scale_to_zero": "a deployed model keeps one replica at least; scaling to none is a preview with cold starts of minutes",
    "tpu_pods": "a step on TPUs runs on one machine; slices of several need a topology that steps cannot name",
}
LONGEST_S = 7 * 24 * 3600


def machine_for(job: JobSpec) -> Machine:
    """The cheapest machine type on which the step fits. Raises PlatformLacks with the reason."""
    if job.timeout_s is not None and job.timeout_s > LONGEST_S:
        raise PlatformLacks(f"step {job.step!r} may run {job.timeout_s / 86400:g} days; Vertex AI's custom jobs are given 7 at most here")
    tpu = (job.gpu_type or "").startswith("tpu")
    if tpu and job.nodes > 1:
        raise PlatformLacks(f"step {job.step!r} wants {job.nodes} machines with {job.gpu_type}: {LACKS['tpu_pods']}")
    return choose(TRAINING, need_of(job), "Vertex AI", job.spot)
