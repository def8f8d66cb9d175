"""Jobs on a cluster: one Job (or TrainJob) an attempt, looked at through a watch.

A Job is stopped by giving it a deadline that is over: the cluster then ends its pods in good order and keeps the Job to be looked at. What
cannot start (no room, no such image) is ended the same way, with the reason written on it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from penstock.platforms.kubernetes import job_manifests
from penstock.platforms.kubernetes.api import Api, Object
from penstock.platforms.kubernetes.labels import ENDED_BY, selector
from penstock.platforms.kubernetes.sights import STOP, ends, runs, sight_of, waits_for
from penstock.platforms.kubernetes.watching import Watched
from penstock.platforms.remote.driver import Order, Sight
from penstock.spec.platforms.kubernetes import KubernetesPlatform

UNFIT_S = 60.0  # for which an image or a variable may be missing, before that counts as an end
LOOK_S = 5.0  # between looks at the pods of what does not start
OURS = ("Job", "TrainJob", "Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy", "HorizontalPodAutoscaler", "ConfigMap")
OPTIONAL = ("TrainJob", "ScaledObject", "InferenceService", "PrometheusRule", "PodMonitor")


@dataclass(slots=True)
class KubernetesDriver:
    api: Api
    settings: KubernetesPlatform
    labels: dict[str, str]
    platform: str = "kubernetes"
    clock: Callable[[], float] = time.time
    _watched: dict[str, Watched] = field(default_factory=dict)
    _looked: dict[str, float] = field(default_factory=dict)

    def create(self, order: Order) -> None:
        if order.nodes > 1 and self._by_trainer():
            self._kind("TrainJob").put(self.api.create(job_manifests.train_job(order, self.settings)))
            return
        if order.nodes > 1:
            self.api.create(job_manifests.service(order))
        made = self.api.create(job_manifests.job(order, self.settings))
        if order.nodes > 1:
            meta = made["metadata"]
            owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
            self.api.merge("Service", order.name, {"metadata": {"ownerReferences": [owner]}})
        self._kind("Job").put({"kind": "Job", **made})

    def look(self, name: str) -> Sight | None:
        found = self._find(name)
        if found is None:
            return None
        end = ends(found)
        if end is None and not runs(found):
            self._end_if_stuck(found)
        sight = sight_of(found, self._pods(name) if end is not None and end["type"] == "Failed" else ())
        if sight.phase == "stopped" and found["kind"] == "TrainJob":
            if self._pods(name):
                return Sight("running", "", sight.started_at)
            self.remove(name)  # the cluster keeps no record of a TrainJob that was suspended, and never removes it
        return sight

    def tail(self, name: str) -> Sequence[str]:
        pods = sorted(self._pods(name), key=lambda pod: str(pod["metadata"].get("creationTimestamp")))
        return self.api.log(pods[-1]["metadata"]["name"]) if pods else ()

    def stop(self, name: str) -> None:
        found = self._find(name)
        if found is not None and ends(found) is None:
            self._end(found, STOP)

    def remove(self, name: str) -> None:
        for kind in ("Job", "Service", *(("TrainJob",) if self._by_trainer() else ())):
            self.api.delete(kind, name)
        for watched in self._watched.values():
            watched.forget(name)

    def left(self) -> Sequence[str]:
        """Jobs that ended and go by themselves within the hour are not counted."""
        found = []
        for kind in (*OURS, *OPTIONAL[1:]):
            if kind in OPTIONAL and not self.api.offers(kind):
                continue
            rows, _ = self.api.rows(kind, selector(self.labels))
            # A Service whose Job ended goes with it.
            gone = [row for row in rows if (kind == "Job" and ends(row)) or row["metadata"].get("ownerReferences")]
            found += [f"{kind} {row['metadata']['name']}" for row in rows if row not in gone]
        return found

    def wait(self, timeout_s: float) -> None:
        """Returns early when the watch told of a change."""
        self._kind("Job").wait(timeout_s)

    def close(self) -> None:
        for watched in self._watched.values():
            watched.close()

    def _find(self, name: str) -> Object | None:
        found = self._kind("Job").get(name)
        if found is None and self._by_trainer():
            found = self._kind("TrainJob").get(name)
            return None if found is None else {**found, "kind": "TrainJob"}
        return None if found is None else {**found, "kind": "Job"}

    def _kind(self, kind: str) -> Watched:
        if kind not in self._watched:
            self._watched[kind] = Watched(self.api, kind, selector(self.labels))
        return self._watched[kind]

    def _by_trainer(self) -> bool:
        """Secrets as variables are beyond a TrainJob: with those, indexed Jobs are used."""
        wanted = self.settings.distributed
        return wanted == "trainjob" or (wanted == "auto" and not self.settings.secrets and self.api.offers("TrainJob"))

    def _pods(self, name: str) -> list[Object]:
        jobs = f"{job_manifests.JOB_NAME} in ({name},{name}-node-0)"
        return self.api.rows("Pod", jobs)[0]

    def _end_if_stuck(self, found: Object) -> None:
        """Ends what waits for something that does not come."""
        name, now = found["metadata"]["name"], self.clock()
        age = now - (sight_of(found, ()).started_at or now)
        if (
            age < min(LOOK_S, self.settings.pending)
            or now - self._looked.get(name, 0.0) < min(LOOK_S, self.settings.pending)
            or ENDED_BY in (found["metadata"].get("annotations") or {})
        ):
            return
        self._looked[name] = now
        events = self.api.rows("Event", fields=f"involvedObject.name={name}")[0]
        why = waits_for(self._pods(name), events)
        if why is not None and age > (self.settings.pending if why[1] else min(UNFIT_S, self.settings.pending)):
            self._end(found, json.dumps({"why": why[0], "full": why[1]}))

    def _end(self, found: Object, by: str) -> None:
        name, kind = found["metadata"]["name"], found["kind"]
        how = {"suspend": True} if kind == "TrainJob" else {"activeDeadlineSeconds": 1}
        patched = self.api.merge(kind, name, {"metadata": {"annotations": {ENDED_BY: by}}, "spec": how})
        if patched is not None:
            self._kind(kind).put(patched)
