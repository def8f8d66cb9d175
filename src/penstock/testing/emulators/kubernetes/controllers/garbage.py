"""What nobody owns any more goes: objects whose owners are all gone, pods whose node is gone."""

from __future__ import annotations

from penstock.testing.emulators.kubernetes.world import World, ended, with_condition


def sync(world: World) -> None:
    rows = world.objects.everything()
    uids = {row["metadata"]["uid"] for _, row in rows}
    for kind, row in rows:
        owners = row["metadata"].get("ownerReferences") or ()
        if owners and not any(owner["uid"] in uids for owner in owners) and "deletionTimestamp" not in row["metadata"]:
            world.delete({**row, "kind": kind.name, "apiVersion": kind.api_version}, propagationPolicy="Background")
    nodes = {node["metadata"]["name"] for node in world.all("Node")}
    for pod in world.all("Pod"):
        node = pod["spec"].get("nodeName")
        if node and node not in nodes and not ended(pod) and "deletionTimestamp" not in pod["metadata"]:
            told = with_condition(pod, "DisruptionTarget", "True", "DeletionByPodGC", "PodGC: node no longer exists")
            world.delete(world.status(pod, conditions=told))
