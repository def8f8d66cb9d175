"""What pods cost: a cluster's nodes are paid by whoever runs it, so prices are those that the pools declare."""

from __future__ import annotations

from penstock.platforms.contract import JobSpec
from penstock.platforms.kubernetes.api import KINDS
from penstock.platforms.kubernetes.capabilities import refuse_impossible
from penstock.platforms.kubernetes.machines import machine_for
from penstock.platforms.quotes import Quote, quoted
from penstock.platforms.remote.jobs import name_of
from penstock.platforms.remote.machines import told
from penstock.spec.platforms.kubernetes import KubernetesPlatform


def quote(job: JobSpec, settings: KubernetesPlatform) -> Quote:
    """The share of a pool's node that the pod takes. Raises PlatformLacks."""
    refuse_impossible(job)
    machine = machine_for(job, settings)
    several = job.nodes > 1
    kinds = ["TrainJob"] if several and settings.distributed == "trainjob" else ["Service", "Job"] if several else ["Job"]
    calls = [
        f"POST {KINDS[kind].base}/namespaces/{settings.namespace}/{KINDS[kind].plural} {name_of(job, 0).replace('0' * 16, 'KEY')}"
        for kind in kinds
    ]
    found = quoted(machine, job.nodes, job.spot, calls)
    return Quote(f"{machine.name} ({told(machine)})", found.nodes, found.spot, found.usd_per_h, None, found.calls)
