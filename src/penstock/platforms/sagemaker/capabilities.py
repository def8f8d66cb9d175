"""What SageMaker can do as a platform, and what it cannot, each with its reason."""

from __future__ import annotations

from penstock.core.errors import PlatformLacks
from penstock.platforms.contract import JobSpec
from penstock.platforms.remote.machines import Machine, choose, need_of
from penstock.platforms.sagemaker.machines import TRAINING

HAS = frozenset(
    (
        *("jobs", "timeout", "cancel", "logs", "gpus", "gpu_types", "machines", "nodes", "spot"),
        *("endpoints", "adapters", "autoscale", "isolation"),
    )
)
LACKS = {
    "environments": "a job runs its image as it is: pinned requirements of a step go into an image of its own",
    "memory_limit": "a step has its machine to itself; a machine with that much memory is chosen",
    "scale_to_zero": "an endpoint with instances keeps one; none while nobody asks have those of `serverless` in the section, and those "
    "of `asynchronous` with `autoscale: {min: 0}`",
    "tpu": "there are none at AWS",
}
LONGEST_S = 28 * 24 * 3600


def machine_for(job: JobSpec) -> Machine:
    """The cheapest machine type on which the step fits. Raises PlatformLacks with the reason."""
    if job.environment:
        raise PlatformLacks(f"step {job.step!r} has an `environment` of its own: {LACKS['environments']}")
    if job.timeout_s is not None and job.timeout_s > LONGEST_S:
        raise PlatformLacks(f"step {job.step!r} may run {job.timeout_s / 86400:g} days; SageMaker stops a job after 28")
    if (job.gpu_type or "").startswith("tpu"):
        raise PlatformLacks(f"step {job.step!r} wants {job.gpu_type}: {LACKS['tpu']}")
    return choose(TRAINING, need_of(job), "SageMaker", job.spot)
