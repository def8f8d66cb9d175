"""Runs pods as processes: places them, starts and restarts their container, probes it, stops it, and says in the status what it saw.

One container a pod. Probes are HTTP requests or connections to the pod's own address.
"""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.platforms.remote.driver import Order
from penstock.platforms.remote.machines import Machine
from penstock.testing.containers import Processes
from penstock.testing.emulators.kubernetes.containers import NotConfigured, command_of, environment_of
from penstock.testing.emulators.kubernetes.defaults import now
from penstock.testing.emulators.kubernetes.objects import Object
from penstock.testing.emulators.kubernetes.scheduling import addresses, place
from penstock.testing.emulators.kubernetes.world import World, condition, ended, with_condition

MACHINE = Machine("node", 1, 1 << 30)
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0)  # a real kubelet begins at 10 s


@dataclass(slots=True)
class Running:
    """What the kubelet remembers of a pod. Times are of the world's clock."""

    restarts: int = 0
    process: str = ""
    due: float = 0.0
    stopping: bool = False
    last: dict[str, Any] | None = None
    probed: dict[str, float] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    ready: bool = False
    up: bool = False  # its startup probe, if any, succeeded


@dataclass(slots=True)
class Kubelet:
    world: World
    processes: Processes
    folder: Path
    pods: dict[str, Running] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)  # uids of pods whose node went without a word
    killed_for_memory: set[str] = field(default_factory=set)  # uids, by Cluster.exhaust
    _ips: Any = field(default_factory=addresses)

    def sync(self) -> None:
        for pod in self.world.all("Pod"):
            self._sync(pod, self.pods.setdefault(pod["metadata"]["uid"], Running()))

    def _sync(self, pod: Object, mine: Running) -> None:
        dying = "deletionTimestamp" in pod["metadata"]
        if mine.process and not ended(pod):
            self._look(pod, mine, dying)
        elif dying:
            self._bury(pod)
        elif ended(pod):
            return
        elif not pod["spec"].get("nodeName"):
            place(pod, self.world, self._ips)
        elif self.world.clock() >= mine.due:
            self._start(pod, mine)

    def _start(self, pod: Object, mine: Running) -> None:
        container = pod["spec"]["containers"][0]
        if container["image"] in self.world.verbs.faults.images:
            self._waiting(pod, mine, "ImagePullBackOff", f'Back-off pulling image "{container["image"]}"')
            return
        name = f"{pod['metadata']['name']}.{pod['metadata']['uid'][:8]}.{mine.restarts}"
        try:
            environment = environment_of(pod, container, self.world, self.folder / name)
        except NotConfigured as error:
            self._waiting(pod, mine, "CreateContainerConfigError", str(error))
            return
        for volume in pod["spec"].get("volumes") or ():
            if "emptyDir" in volume:
                (self.folder / name / volume["name"]).mkdir(parents=True, exist_ok=True)
        self.processes.create(Order(name, command_of(container, environment), environment, MACHINE))
        mine.process, mine.stopping, mine.ready, mine.up = name, False, False, False
        mine.probed, mine.failed = {}, {}
        self._told(pod, mine, {"running": {"startedAt": now()}}, phase="Running", startTime=pod.get("status", {}).get("startTime") or now())

    def _look(self, pod: Object, mine: Running, dying: bool) -> None:
        sight = self.processes.look(mine.process)
        if sight is not None and sight.phase in ("running", "pending"):
            if dying or condition(pod, "DisruptionTarget") is not None:
                self._stop(pod, mine)
            else:
                self._probe(pod, mine)
            return
        reason = sight.reason if sight is not None else "lost"
        code = 0 if sight is not None and not reason else _code(reason)
        terminated = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "startedAt": now(), "finishedAt": now()}
        tail = "\n".join(self.processes.tail(mine.process))
        if code and tail and pod["spec"]["containers"][0].get("terminationMessagePolicy") == "FallbackToLogsOnError":
            terminated["message"] = tail[-2048:]
        if code == 137:
            terminated["reason"] = "OOMKilled" if pod["metadata"]["uid"] in self.killed_for_memory else "Error"
        policy = pod["spec"].get("restartPolicy", "Always")
        again = not dying and (policy == "Always" or (policy == "OnFailure" and code)) and condition(pod, "DisruptionTarget") is None
        if not again:
            self._told(pod, mine, {"terminated": terminated}, phase="Succeeded" if code == 0 else "Failed")
            mine.process = ""
            return
        mine.last, mine.process = {"terminated": terminated}, ""
        self._told(pod, mine, {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}})
        mine.restarts += 1  # counted in the status once it starts again
        mine.due = self.world.clock() + BACKOFF_S[min(mine.restarts - 1, len(BACKOFF_S) - 1)]

    def _stop(self, pod: Object, mine: Running) -> None:
        if not mine.stopping:
            mine.stopping = True
            meta = pod["metadata"]
            grace = meta.get("deletionGracePeriodSeconds", pod["spec"].get("terminationGracePeriodSeconds", 30))
            if meta["uid"] in self.lost or grace == 0:
                self.processes.take_away(mine.process, warned=False)
            else:
                self.processes.stop(mine.process, float(grace))
            self._told(pod, mine, None)

    def _bury(self, pod: Object) -> None:
        meta = pod["metadata"]
        if not ended(pod):
            pod = self.world.status(pod, phase="Failed")
        if meta.get("finalizers"):
            return
        self.world.objects.remove(self.world.kinds["Pod"], meta["namespace"], meta["name"])
        self.pods.pop(meta["uid"], None)

    def _waiting(self, pod: Object, mine: Running, reason: str, message: str) -> None:
        mine.due = self.world.clock() + 0.5
        self._told(pod, mine, {"waiting": {"reason": reason, "message": message}}, phase="Pending")

    def _told(self, pod: Object, mine: Running, state: dict[str, Any] | None, **fields: Any) -> None:
        container = pod["spec"]["containers"][0]
        probe = container.get("readinessProbe")
        running = state is not None and "running" in state
        mine.ready = running and probe is None
        before = (pod.get("status", {}).get("containerStatuses") or [{}])[0]
        told = {"name": container["name"], "image": container["image"], "imageID": f"emulated://{container['image']}", "ready": mine.ready}
        told |= {"restartCount": mine.restarts, "started": running, "state": state if state is not None else before.get("state", {})}
        if mine.last is not None:
            told["lastState"] = mine.last
        conditions = with_condition(pod, "Ready", "True" if mine.ready else "False")
        self.world.status(pod, containerStatuses=[told], conditions=conditions, **fields)

    def _probe(self, pod: Object, mine: Running) -> None:
        container = pod["spec"]["containers"][0]
        started = container.get("startupProbe")
        if started is not None and not mine.up:
            mine.up = self._asked(pod, mine, "startupProbe", started) is True
            if mine.failed.get("startupProbe", 0) >= int(started.get("failureThreshold", 3)):
                self.processes.stop(mine.process, 1.0)
            return
        alive = container.get("livenessProbe")
        if alive is not None:
            self._asked(pod, mine, "livenessProbe", alive)
            if mine.failed.get("livenessProbe", 0) >= int(alive.get("failureThreshold", 3)):
                self.processes.stop(mine.process, 1.0)
        served = container.get("readinessProbe")
        if served is None:
            return
        good = self._asked(pod, mine, "readinessProbe", served)
        failures = mine.failed.get("readinessProbe", 0)
        is_ready = mine.ready if good is None else good or (mine.ready and failures < int(served.get("failureThreshold", 3)))
        if is_ready != mine.ready:
            mine.ready = is_ready
            status = {**(pod["status"]["containerStatuses"][0]), "ready": is_ready}
            self.world.status(pod, containerStatuses=[status], conditions=with_condition(pod, "Ready", "True" if is_ready else "False"))

    def _asked(self, pod: Object, mine: Running, name: str, probe: dict[str, Any]) -> bool | None:
        """None: not due."""
        clock, every = self.world.clock(), float(probe.get("periodSeconds", 10))
        if clock - mine.probed.get(name, 0.0) < min(every, 0.2 if not mine.ready else every):
            return None
        mine.probed[name] = clock
        timeout_s = float(probe.get("timeoutSeconds", 1))
        knock = probe.get("tcpSocket")
        address = pod["status"]["podIP"]
        good = _listens(address, int(knock["port"]), timeout_s) if knock else _http(address, probe["httpGet"], timeout_s)
        mine.failed[name] = 0 if good else mine.failed.get(name, 0) + (clock - mine.probed.get(f"{name}-counted", 0.0) >= every)
        if not good and clock - mine.probed.get(f"{name}-counted", 0.0) >= every:
            mine.probed[f"{name}-counted"] = clock
        return good


def _listens(address: str, port: int, timeout_s: float) -> bool:
    try:
        with socket.create_connection((address, port), timeout_s):
            return True
    except OSError:
        return False


def _http(address: str, get: dict[str, Any], timeout_s: float) -> bool:
    try:
        connection = http.client.HTTPConnection(address, int(get["port"]), timeout=timeout_s)
        try:
            connection.request("GET", get.get("path", "/"))
            return 200 <= connection.getresponse().status < 400
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False


def _code(reason: str) -> int:
    """Exit code as a container runtime gives it: 128 + signal for one that was killed."""
    words = reason.split()
    number = int(words[-1]) if words and words[-1].isdecimal() else 1
    return 128 + number if reason.startswith("killed") else number or 1
