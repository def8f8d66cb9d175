"""What lies below a resource: the log and the eviction of a pod, the scale of what has replicas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock.testing.containers import Processes
from penstock.testing.emulators.kubernetes.controllers import disruption
from penstock.testing.emulators.kubernetes.kubelet import Kubelet
from penstock.testing.emulators.kubernetes.objects import Object
from penstock.testing.emulators.kubernetes.server import Target
from penstock.testing.emulators.kubernetes.world import World


@dataclass(slots=True)
class Subresources:
    world: World
    kubelet: Kubelet
    processes: Processes

    def log(self, method: str, at: Target, query: dict[str, str], body: Any) -> tuple[int, str]:  # noqa: ARG002 (as all of them)
        pod = self.world.verbs.get(at.kind, at.namespace or "", at.name)
        running = self.kubelet.pods.get(pod["metadata"]["uid"])
        prefix = f"{at.name}.{pod['metadata']['uid'][:8]}."
        name = running.process if running is not None and running.process else f"{prefix}{running.restarts if running else 0}"
        lines = list(self.processes.tail(name))
        if query.get("tailLines"):
            lines = lines[-int(query["tailLines"]) :]
        return 200, "".join(f"{line}\n" for line in lines)

    def eviction(self, method: str, at: Target, query: dict[str, str], body: Any) -> tuple[int, Object]:  # noqa: ARG002
        disruption.evict(self.world.verbs.get(at.kind, at.namespace or "", at.name), self.world)
        return 201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    def scale(self, method: str, at: Target, query: dict[str, str], body: Any) -> tuple[int, Object]:
        verbs, space = self.world.verbs, at.namespace or ""
        if method == "PATCH":
            wanted = {"spec": {"replicas": body["spec"]["replicas"]}}
            verbs.patch(at.kind, space, at.name, wanted, ("application/merge-patch+json", query))
        found = verbs.get(at.kind, space, at.name)
        spec = {"replicas": found["spec"].get("replicas", 1)}
        return 200, {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": found["metadata"], "spec": spec}
