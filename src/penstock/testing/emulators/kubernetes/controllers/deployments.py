"""Deployments and replica sets. A changed template is rolled: a new replica set grows to its number, then the old ones shrink."""

from __future__ import annotations

import datetime

from penstock.core.digests import digest_json, hex_of
from penstock.testing.emulators.kubernetes.objects import Object
from penstock.testing.emulators.kubernetes.world import World, active, ready, with_condition

COST = "controller.kubernetes.io/pod-deletion-cost"
HASH = "pod-template-hash"


def sync(world: World) -> None:
    for deployment in world.all("Deployment"):
        _sync(deployment, world)
    for replicas in world.all("ReplicaSet"):
        _fill(replicas, world)


def _sync(deployment: Object, world: World) -> None:
    meta, spec = deployment["metadata"], deployment["spec"]
    digest = hex_of(digest_json(spec["template"]))[:10]
    name = f"{meta['name']}-{digest}"
    sets = world.owned("ReplicaSet", deployment)
    new = next((row for row in sets if row["metadata"]["name"] == name), None) or world.create(deployment, _set(deployment, name, digest))
    if new is None:
        return
    wanted = spec.get("replicas", 1)
    _scale(new, wanted, world)
    pods = [pod for row in [*sets, new] for pod in world.owned("Pod", row)]
    pods = list({pod["metadata"]["uid"]: pod for pod in pods}.values())
    mine = world.owned("Pod", new)
    if len([p for p in mine if ready(p)]) >= wanted:
        for row in sets:
            if row["metadata"]["name"] != name:
                _scale(row, 0, world)
    good = len([p for p in pods if ready(p)])
    available = with_condition(deployment, "Available", "True" if good >= wanted else "False", "MinimumReplicasAvailable")
    counted = {"replicas": len(active(pods)), "readyReplicas": good, "availableReplicas": good, "updatedReplicas": len(active(mine))}
    world.status(deployment, **counted, observedGeneration=meta["generation"], conditions=available)


def _set(deployment: Object, name: str, digest: str) -> Object:
    spec = deployment["spec"]
    template = spec["template"]
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH: digest}
    made = {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}}
    selector = {"matchLabels": {**(spec["selector"].get("matchLabels") or {}), HASH: digest}}
    body = {"replicas": spec.get("replicas", 1), "selector": selector, "template": made}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "labels": labels}, "spec": body}


def _scale(replicas: Object, wanted: int, world: World) -> None:
    with world.objects.lock:
        meta = replicas["metadata"]
        present = world.get("ReplicaSet", meta["namespace"], meta["name"])
        if present is not None and present["spec"].get("replicas") != wanted:
            world.put({**present, "spec": {**present["spec"], "replicas": wanted}})


def _fill(replicas: Object, world: World) -> None:
    if "deletionTimestamp" in replicas["metadata"]:
        return
    spec = replicas["spec"]
    pods = active(world.owned("Pod", replicas))
    for _ in range(spec.get("replicas", 1) - len(pods)):
        template = spec["template"]
        meta = {**(template.get("metadata") or {}), "generateName": f"{replicas['metadata']['name']}-"}
        if world.create(replicas, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}) is None:
            break
    surplus = len(pods) - spec.get("replicas", 1)
    for pod in sorted(pods, key=_keep)[: max(0, surplus)]:
        world.delete(pod)


def _keep(pod: Object) -> tuple[bool, bool, int, float]:
    """The order in which pods go: not running, not ready, cheap to delete, young."""
    meta = pod["metadata"]
    cost = int((meta.get("annotations") or {}).get(COST, "0"))
    born = datetime.datetime.fromisoformat(meta["creationTimestamp"]).timestamp()
    return (pod.get("status", {}).get("phase") == "Running", ready(pod), cost, -born)
