"""KServe's InferenceService with containers of one's own, in standard mode: a Deployment, and its readiness as the service's."""

from __future__ import annotations

from typing import Any

from penstock.testing.emulators.kubernetes.objects import Object
from penstock.testing.emulators.kubernetes.world import World, with_condition

MODE = "serving.kserve.io/deploymentMode"
OWN = ("minReplicas", "maxReplicas", "labels", "annotations", "scaleMetric", "scaleTarget", "scaleMetricType")


def sync(world: World) -> None:
    for service in world.all("InferenceService"):
        if (service["metadata"].get("annotations") or {}).get(MODE) not in ("RawDeployment", "Standard"):
            world.event(service, "InternalError", "Knative is not installed: only the standard deployment mode works here")
            continue
        owned = world.owned("Deployment", service)
        wanted = _deployment(service)
        if not owned:
            world.create(service, wanted)
            continue
        present = owned[0]
        spec = {**present["spec"], "template": wanted["spec"]["template"]}
        least, most = _bounds(service)
        spec["replicas"] = min(max(present["spec"].get("replicas", least), least), most)
        if spec != present["spec"]:
            meta = {**present["metadata"], "generation": present["metadata"]["generation"] + 1}
            world.put({**present, "metadata": meta, "spec": spec})
        good = present.get("status", {}).get("readyReplicas", 0) >= least
        world.status(service, conditions=with_condition(service, "Ready", "True" if good else "False"))


def _bounds(service: Object) -> tuple[int, int]:
    predictor = service["spec"]["predictor"]
    least = int(predictor.get("minReplicas", 1))
    return least, int(predictor.get("maxReplicas") or least)


def _deployment(service: Object) -> dict[str, Any]:
    name, predictor = service["metadata"]["name"], service["spec"]["predictor"]
    labels = {"app": f"isvc.{name}-predictor"[:63], "serving.kserve.io/inferenceservice": name, "component": "predictor"}
    pod = {key: value for key, value in predictor.items() if key not in OWN}
    meta = {"labels": {**(predictor.get("labels") or {}), **labels}, "annotations": predictor.get("annotations") or {}}
    spec = {"replicas": _bounds(service)[0], "selector": {"matchLabels": labels}, "template": {"metadata": meta, "spec": pod}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": f"{name}-predictor"}, "spec": spec}
