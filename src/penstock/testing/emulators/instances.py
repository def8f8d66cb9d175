"""The instances behind an emulated endpoint: each a process with a port of its own that is asked for its health until it may serve."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from penstock.testing.containers import Processes

ASK_S = 2.0


@dataclass(slots=True)
class Instance:
    container: str
    port: int
    ready: bool = False


InstanceT = TypeVar("InstanceT", bound=Instance)


def looked(processes: Processes, instances: list[InstanceT], health: str) -> tuple[InstanceT, str] | None:
    """Notices who is ready, and takes out who ended: the last of those, and why."""
    lost = None
    for instance in list(instances):
        sight = processes.look(instance.container)
        if sight is not None and sight.phase != "running":
            instances.remove(instance)
            lost = instance, sight.reason or sight.phase
        elif not instance.ready:
            instance.ready = answers(instance.port, health)
    return lost


def cut_to(instances: list[InstanceT], count: int) -> list[InstanceT]:
    """Takes out those beyond `count`: these."""
    over = instances[count:]
    del instances[count:]
    return over


def stop(processes: Processes, instances: Iterable[Instance]) -> None:
    for instance in instances:
        processes.stop(instance.container)


def gone(processes: Processes, instances: Sequence[Instance]) -> bool:
    sights = [processes.look(instance.container) for instance in instances]
    return all(sight is None or sight.phase != "running" for sight in sights)


def answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_S)
    try:
        connection.request("GET", path)
        with connection.getresponse() as answer:
            return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
