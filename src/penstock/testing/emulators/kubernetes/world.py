"""What controllers and kubelet see and change: objects by the name of their kind, owners, conditions. Their writes are not checked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.kubernetes.defaults import now
from penstock.testing.emulators.kubernetes.kinds import Kind
from penstock.testing.emulators.kubernetes.objects import Object, Objects
from penstock.testing.emulators.kubernetes.refusals import Refusal
from penstock.testing.emulators.kubernetes.verbs import Verbs


@dataclass(slots=True)
class World:
    verbs: Verbs
    kinds: dict[str, Kind]
    clock: Callable[[], float] = time.time
    _events: int = 0
    _told: set[str] = field(default_factory=set)

    @property
    def objects(self) -> Objects:
        return self.verbs.objects

    def all(self, kind: str) -> list[Object]:
        return self.objects.rows(self.kinds[kind]) if kind in self.kinds else []

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return self.objects.get(self.kinds[kind], namespace, name)

    def owned(self, kind: str, owner: Object) -> list[Object]:
        return self.objects.owned(self.kinds[kind], owner["metadata"]["uid"]) if kind in self.kinds else []

    def put(self, value: Object) -> Object:
        return self.objects.put(self.kinds[value["kind"]], value)

    def status(self, value: Object, **fields: Any) -> Object:
        """Changes fields of the status of the object as it is now; of one that is gone, nothing."""
        with self.objects.lock:
            meta = value["metadata"]
            present = self.get(value["kind"], meta.get("namespace", ""), meta["name"])
            if present is None or present["metadata"]["uid"] != meta["uid"]:
                return value
            status = {**present.get("status", {}), **fields}
            return self.put({**present, "status": {k: v for k, v in status.items() if v is not None}})

    def create(self, owner: Object, value: Object) -> Object | None:
        """By a controller, for `owner`; what is refused is told as an event of the owner."""
        meta = owner["metadata"]
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"], "controller": True}
        kind = self.kinds[value["kind"]]
        body = {**value, "metadata": {**value["metadata"], "ownerReferences": [{**reference, "blockOwnerDeletion": True}]}}
        try:
            return self.verbs.create(kind, meta.get("namespace", ""), body, {})
        except Refusal as refusal:
            if refusal.reason != "AlreadyExists":
                self.event(owner, "FailedCreate", f"Error creating: {refusal.message}")
            return None

    def delete(self, value: Object, **options: Any) -> None:
        meta = value["metadata"]
        with contextlib.suppress(Refusal):  # somebody was quicker
            self.verbs.delete(self.kinds[value["kind"]], meta.get("namespace", ""), meta["name"], options)

    def event(self, about: Object, reason: str, message: str) -> None:
        """Once for each thing that is said."""
        meta, key = about["metadata"], f"{about['metadata']['uid']} {reason} {message}"
        if key in self._told:
            return
        self._told.add(key)
        self._events += 1
        named = {"apiVersion": about["apiVersion"], "kind": about["kind"], "name": meta["name"], "uid": meta["uid"]}
        own = {"name": f"{meta['name']}.{self._events:x}", "namespace": meta.get("namespace", "default"), "uid": f"event-{self._events}"}
        told = {"reason": reason, "message": message, "type": "Warning", "lastTimestamp": now(), "involvedObject": named}
        self.put({"apiVersion": "v1", "kind": "Event", "metadata": own, **told})


def condition(value: Object, type_: str) -> Object | None:
    """The condition of that type that is True."""
    return next((c for c in value.get("status", {}).get("conditions") or () if c["type"] == type_ and c["status"] == "True"), None)


def with_condition(value: Object, type_: str, status: str, reason: str = "", message: str = "") -> list[Object]:
    """The conditions of `value`, with one of them set."""
    others = [c for c in value.get("status", {}).get("conditions") or () if c["type"] != type_]
    made = {"type": type_, "status": status, "lastTransitionTime": now(), "reason": reason, "message": message}
    old = next((c for c in value.get("status", {}).get("conditions") or () if c["type"] == type_), None)
    if old is not None and (old["status"], old.get("reason", "")) == (status, reason):
        made["lastTransitionTime"] = old["lastTransitionTime"]
    return [*others, {k: v for k, v in made.items() if v != ""}]


def ended(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def active(pods: Iterable[Object]) -> list[Object]:
    return [pod for pod in pods if not ended(pod) and "deletionTimestamp" not in pod["metadata"]]


def ready(pod: Object) -> bool:
    return condition(pod, "Ready") is not None and "deletionTimestamp" not in pod["metadata"]
