"""Horizontal autoscalers and KEDA's scaled objects, as far as it can be told without metrics: replicas stay between least and most."""

from __future__ import annotations

from penstock.testing.emulators.kubernetes.world import World


def sync(world: World) -> None:
    for row in [*world.all("HorizontalPodAutoscaler"), *world.all("ScaledObject")]:
        spec, space = row["spec"], row["metadata"]["namespace"]
        hpa = row["kind"] == "HorizontalPodAutoscaler"
        least = spec.get("minReplicas", 1) if hpa else spec.get("minReplicaCount", 0)
        most = spec["maxReplicas"] if hpa else spec.get("maxReplicaCount", 100)
        with world.objects.lock:
            target = world.get("Deployment", space, spec["scaleTargetRef"]["name"])
            if target is not None and not least <= target["spec"].get("replicas", 1) <= most:
                wanted = min(most, max(least, target["spec"].get("replicas", 1)))
                world.put({**target, "spec": {**target["spec"], "replicas": wanted}})
