"""What Azure ML can do as a platform, and what it cannot, each with its reason."""

from __future__ import annotations

from dataclasses import replace

from penstock.core.errors import PlatformLacks
from penstock.platforms.azureml.machines import TRAINING, instance_types, priced
from penstock.platforms.contract import JobSpec
from penstock.platforms.remote.machines import Machine, choose, need_of
from penstock.spec.platforms.azureml import AzureMLPlatform

HAS = frozenset(
    (
        *("jobs", "timeout", "cancel", "logs", "environments", "gpus", "gpu_types", "machines", "nodes", "spot"),
        *("endpoints", "autoscale", "mirror", "isolation", "adapters"),
    )
)
LACKS = {
    "memory_limit": "a step has its machine to itself; a machine with that much memory is chosen",
    "scale_to_zero": "a managed online deployment keeps at least one instance",
    "tpu": "there are none at Azure",
}
LONGEST_S = 30 * 24 * 3600


def machine_for(job: JobSpec, settings: AzureMLPlatform) -> Machine:
    """The cheapest machine type on which the step fits, or the cluster's machine or instance type. Raises PlatformLacks with the reason."""
    if job.timeout_s is not None and job.timeout_s > LONGEST_S:
        raise PlatformLacks(f"step {job.step!r} may run {job.timeout_s / 86400:g} days; Azure ML stops a job after 30")
    if (job.gpu_type or "").startswith("tpu"):
        raise PlatformLacks(f"step {job.step!r} wants {job.gpu_type}: {LACKS['tpu']}")
    table, need, cluster = priced(TRAINING, settings.usd_per_hour), need_of(job), settings.compute
    if cluster is None:
        return choose(table, need, "Azure ML", job.spot)
    if cluster.instance_types:
        if job.spot:
            raise PlatformLacks(
                f"step {job.step!r} wants machines that may be taken away; Azure ML has none on a Kubernetes cluster ({cluster.name})",
                remedy="Drop `spot` of the step, or run it by `kind: kubernetes`, whose pools know spot nodes.",
            )
        return choose(instance_types(cluster, settings.usd_per_hour), need, f"Kubernetes cluster {cluster.name!r}")
    if job.spot and not cluster.low_priority:
        raise PlatformLacks(
            f"step {job.step!r} wants machines that may be taken away, and cluster {cluster.name!r} has none",
            remedy="Make a low-priority cluster and say `low_priority: true`, leave `compute` out, or drop `spot` of the step.",
        )
    if need.machine not in (None, cluster.machine):
        raise PlatformLacks(f"step {job.step!r} wants {need.machine}; cluster {cluster.name!r} has {cluster.machine}")
    return choose(table, replace(need, machine=cluster.machine), "Azure ML", job.spot)
