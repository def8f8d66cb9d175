"""The replicas of a deployed model: each a process that is asked for its health until it is fit to serve."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.vertex.project import Project, free_port

PING_S = 2.0
_numbers = itertools.count(1)


@dataclass(slots=True)
class Replica:
    container: str
    port: int
    ready: bool = False


@dataclass(slots=True)
class Deployed:
    """`row` is what the API shows; `model` what was uploaded. `settled`: its deployment is over. `lost`: why a replica ended by itself."""

    row: Any
    model: Any
    since: float
    settled: bool = False
    replicas: list[Replica] = field(default_factory=list)
    lost: str = ""
    turn: int = 0

    @property
    def wanted(self) -> int:
        """What it scales to with no load: that here nobody measures any."""
        return int(self.row.dedicated_resources.min_replica_count)

    @property
    def ready(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.ready]

    @property
    def full(self) -> bool:
        return len(self.replicas) == self.wanted == len(self.ready)


def tend(project: Project, deployed: Deployed, *, replace: bool) -> None:
    """Starts what is missing, stops what is too much, notices who is ready and who died; `replace` those."""
    for replica in list(deployed.replicas):
        sight = project.processes.look(replica.container)
        if sight is not None and sight.phase != "running":
            deployed.replicas.remove(replica)
            deployed.lost = sight.reason or sight.phase
        elif not replica.ready:
            replica.ready = _ping(replica.port, deployed.model.container_spec.health_route)
    for replica in deployed.replicas[deployed.wanted :]:
        project.processes.stop(replica.container)
    del deployed.replicas[deployed.wanted :]
    if deployed.lost and not replace:
        return
    while len(deployed.replicas) < deployed.wanted:
        deployed.replicas.append(_start(project, deployed))
    deployed.row.status.available_replica_count = len(deployed.ready)


def stop_all(project: Project, replicas: Sequence[Replica]) -> None:
    for replica in replicas:
        project.processes.stop(replica.container)


def gone(project: Project, deployed: Deployed) -> bool:
    sights = [project.processes.look(replica.container) for replica in deployed.replicas]
    return all(sight is None or sight.phase != "running" for sight in sights)


def _start(project: Project, deployed: Deployed) -> Replica:
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
    return Replica(container, port)


def _ping(port: int, route: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PING_S)
    try:
        connection.request("GET", route)
        with connection.getresponse() as answer:
            return answer.status == 200
    except OSError:
        return False
    finally:
        connection.close()
