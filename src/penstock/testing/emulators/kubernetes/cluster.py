"""The emulated cluster: `with Cluster(folder) as cluster:` serves the API, runs controllers and kubelet, and ends everything at the end.

`cluster.kubeconfig` is a file as kubectl reads it. `environment` is added to that of every container, as a node's image would have it.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from penstock.testing.containers import Processes
from penstock.testing.emulators.kubernetes import certificates
from penstock.testing.emulators.kubernetes.access import Access
from penstock.testing.emulators.kubernetes.controllers import deployments, garbage, inference, jobs, scaling, trainjobs
from penstock.testing.emulators.kubernetes.faults import Faults
from penstock.testing.emulators.kubernetes.kinds import BUILT_IN, Kind
from penstock.testing.emulators.kubernetes.kubelet import Kubelet
from penstock.testing.emulators.kubernetes.objects import Object, Objects
from penstock.testing.emulators.kubernetes.schemas import Schemas
from penstock.testing.emulators.kubernetes.server import Api, serving
from penstock.testing.emulators.kubernetes.subresources import Subresources
from penstock.testing.emulators.kubernetes.verbs import Verbs
from penstock.testing.emulators.kubernetes.world import World, active, condition, with_condition
from penstock.testing.emulators.table import Emulated

CONTROLLERS = (trainjobs, inference, jobs, deployments, scaling, garbage)
TICK_S, IDLE_S, LOOK_S = 0.02, 0.1, 0.5
CLAIM = "store"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


class Cluster:
    """`crds`: folder of CustomResourceDefinitions that are installed; None: none is."""

    def __init__(self, folder: Path, *, crds: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        self.folder, self.faults = folder, Faults()
        schemas = Schemas(crds)
        kinds: list[Kind] = [*BUILT_IN, *schemas.custom]
        by_name = {kind.name: kind for kind in reversed(kinds)}
        self.objects = Objects()
        self.world = World(Verbs(self.objects, schemas, self.faults, by_name), by_name)
        self.processes = Processes(folder / "containers", "kubernetes", environment or {})
        self.kubelet = Kubelet(self.world, self.processes, folder / "volumes")
        self.api = Api(self.world.verbs, kinds, secrets.token_hex(16))
        below = Subresources(self.world, self.kubelet, self.processes)
        self.api.special = {"log": below.log, "eviction": below.eviction, "scale": below.scale}
        self.kubeconfig = folder / "kubeconfig"
        self.access = Access(self.api, self.kubeconfig)
        self._stack, self._ending = contextlib.ExitStack(), threading.Event()
        self._loop = threading.Thread(target=self._work, name="kubernetes-controllers", daemon=True)

    def __enter__(self) -> Cluster:
        self.folder.mkdir(parents=True, exist_ok=True)
        certificate, key = certificates.make(self.folder)
        self.access.url = self._stack.enter_context(serving(self.api, certificate, key))
        self.access.renew()
        self.add_namespace("default")
        self.add_node("general-1")
        self.add_claim(CLAIM)
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._loop.join(10)
        self._stack.close()
        self.processes.close()

    def settings(self, store: Path, **more: Any) -> dict[str, Any]:
        """A platform's section of a pipeline file that leads here. `store`: a folder that the artifact store lies in; pods mount it."""
        section = {"kind": "kubernetes", "image": "registry.example/penstock:1", "kubeconfig": str(self.kubeconfig)}
        return {**section, "volume": {"claim": CLAIM, "at": str(store)}, **more}

    def add_namespace(self, name: str) -> None:
        value = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
        self.world.verbs.create(self.world.kinds["Namespace"], "", value, {})

    def add_claim(self, name: str, namespace: str = "default") -> None:
        """A volume that pods may mount: on this machine every path is there already."""
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        value = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
        self.world.verbs.create(self.world.kinds["PersistentVolumeClaim"], namespace, value, {})

    def add_secret(self, name: str, values: Mapping[str, str], namespace: str = "default") -> None:
        value = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(values)}
        self.world.verbs.create(self.world.kinds["Secret"], namespace, value, {})

    def add_node(self, name: str, *, labels: Mapping[str, str] | None = None, taints: tuple[str, ...] = (), **room: str) -> None:
        """`taints` as KEY=VALUE:EFFECT; `room`: allocatable resources, `/` and `.` written as `__` and `_`."""
        found = []
        for taint in taints:
            pair, _, effect = taint.rpartition(":")
            key, _, value = pair.partition("=")
            found.append({"key": key, "value": value, "effect": effect})
        allocatable = {"cpu": "64", "memory": "256Gi", "pods": "500"} | {k.replace("__", "/").replace("_", "."): v for k, v in room.items()}
        made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": dict(labels or {})}, "spec": {"taints": found}}
        stored = self.world.verbs.create(self.world.kinds["Node"], "", made, {})
        self.world.status(stored, allocatable=allocatable, capacity=allocatable)

    def take_node(self, name: str, *, warned: bool = True) -> None:
        """As a spot machine goes: its pods are asked to end and fail as disrupted; not `warned`: killed at once. The node is then gone."""
        for pod in self.pods():
            if pod["spec"].get("nodeName") == name:
                if not warned:
                    self.kubelet.lost.add(pod["metadata"]["uid"])
                told = with_condition(pod, "DisruptionTarget", "True", "TerminationByKubelet", "Pod was terminated: node shutdown")
                self.world.status(pod, conditions=told)
        self.objects.remove(self.world.kinds["Node"], "", name)

    def exhaust(self, pod: str, namespace: str = "default") -> None:
        """The pod's process is killed as the kernel kills one that passed its memory limit."""
        found = self.world.get("Pod", namespace, pod)
        assert found is not None, pod
        uid = found["metadata"]["uid"]
        self.kubelet.killed_for_memory.add(uid)
        self.processes.take_away(self.kubelet.pods[uid].process, warned=False)

    def crash(self, pod: str, namespace: str = "default") -> None:
        """The pod's process ends by itself."""
        found = self.world.get("Pod", namespace, pod)
        assert found is not None, pod
        self.processes.take_away(self.kubelet.pods[found["metadata"]["uid"]].process, warned=False)

    def pods(self) -> list[Object]:
        return active(self.world.all("Pod"))

    def jobs(self) -> list[Object]:
        """Those that have not ended."""
        return [job for job in self.world.all("Job") if not (condition(job, "Complete") or condition(job, "Failed"))]

    def cut_watches(self, *, forget: bool = False) -> None:
        """Every watch ends; with `forget`, what they saw last is too old to go on from (410)."""
        if forget:
            self.objects.forget()
        self.api.cuts += 1

    def _work(self) -> None:
        synced, at = -1, 0.0
        while not self._ending.is_set():
            before, now = self.objects.version, time.monotonic()
            try:
                if before != synced or now - at > LOOK_S:  # deadlines and times to live pass without a change
                    synced, at = before, now
                    for controller in CONTROLLERS:
                        controller.sync(self.world)
                self.kubelet.sync()
            except Exception:  # told on the terminal of the test; the next pass goes on
                traceback.print_exc()
            self._ending.wait(TICK_S if self.objects.version != before else IDLE_S)


@contextlib.contextmanager
def emulated(folder: Path, store: Path) -> Iterator[Emulated]:
    """For EMULATORS."""
    with Cluster(folder) as cluster:
        yield Emulated(cluster.settings(store))
