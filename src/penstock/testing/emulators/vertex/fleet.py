"""The replicas of a deployed model: each a process that is asked for its health until it is fit to serve."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.instances import Instance, cut_to, looked, stop
from penstock.testing.emulators.vertex.project import Project
from penstock.testing.ports import free_port

_numbers = itertools.count(1)


@dataclass(slots=True)
class Deployed:
    """`row` is what the API shows; `model` what was uploaded. `settled`: its deployment is over. `lost`: why a replica ended by itself."""

    row: Any
    model: Any
    since: float
    settled: bool = False
    replicas: list[Instance] = field(default_factory=list)
    lost: str = ""
    turn: int = 0

    @property
    def wanted(self) -> int:
        """What it scales to with no load: that here nobody measures any."""
        return int(self.row.dedicated_resources.min_replica_count)

    @property
    def ready(self) -> list[Instance]:
        return [replica for replica in self.replicas if replica.ready]

    @property
    def full(self) -> bool:
        return len(self.replicas) == self.wanted == len(self.ready)


def tend(project: Project, deployed: Deployed, *, replace: bool) -> None:
    """Starts what is missing, stops what is too much, notices who is ready and who died; `replace` those."""
    lost = looked(project.processes, deployed.replicas, deployed.model.container_spec.health_route)
    deployed.lost = lost[1] if lost is not None else deployed.lost
    stop(project.processes, cut_to(deployed.replicas, deployed.wanted))
    if deployed.lost and not replace:
        return
    while len(deployed.replicas) < deployed.wanted:
        deployed.replicas.append(_start(project, deployed))
    deployed.row.status.available_replica_count = len(deployed.ready)


def _start(project: Project, deployed: Deployed) -> Instance:
    spec, port = deployed.model.container_spec, free_port()
    container = f"{deployed.row.id}.{next(_numbers)}"
    given = {variable.name: variable.value for variable in spec.env}
    told = {
        "AIP_HTTP_PORT": str(port),  # 8080 in a container; here all share one network
        "AIP_HEALTH_ROUTE": spec.health_route,
        "AIP_DEPLOYED_MODEL_ID": deployed.row.id,
        "AIP_MODE": "PREDICTION",
    }
    project.run(container, [*(list(spec.command) or ["penstock"]), *spec.args], {**given, **told})
    return Instance(container, port)
