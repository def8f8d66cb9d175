"""The installation as a kustomize tree: `base/`, one file an object, and overlays for trying out and for production."""

from __future__ import annotations

from typing import Any

from penstock.core.yaml_text import as_yaml
from penstock.platforms.kubernetes.install import NAME, Wish, objects

HEAD = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


def tree(wish: Wish) -> dict[str, str]:
    """Path → YAML. `overlays/production` takes state from PostgreSQL by the Secret `penstock` and asks for more room."""
    base = {_file(value): value for value in objects(wish)}
    kustomization = {**HEAD, "namespace": wish.namespace, "resources": sorted(base)}
    files = {f"base/{name}": as_yaml(value) for name, value in base.items()}
    files["base/kustomization.yaml"] = as_yaml(kustomization)
    files["overlays/trial/kustomization.yaml"] = as_yaml(_overlay(_room("500m", "1Gi"), _storage("2Gi")))
    files["overlays/production/kustomization.yaml"] = as_yaml(_overlay(_room("2", "8Gi"), _storage("100Gi"), _secret()))
    return files


def _file(value: dict[str, Any]) -> str:
    kind, name = value["kind"].lower(), value["metadata"]["name"]
    return f"{kind}.yaml" if name == NAME or kind == "namespace" else f"{kind}-{name}.yaml"


def _overlay(*patches: dict[str, Any]) -> dict[str, Any]:
    return {**HEAD, "resources": ["../../base"], "patches": list(patches)}


def _room(cpu: str, memory: str) -> dict[str, Any]:
    asked = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}
    return _patch("Deployment", "/spec/template/spec/containers/0/resources", asked)


def _storage(size: str) -> dict[str, Any]:
    return _patch("PersistentVolumeClaim", "/spec/resources/requests/storage", size)


def _secret() -> dict[str, Any]:
    return _patch("Deployment", "/spec/template/spec/containers/0/envFrom", [{"secretRef": {"name": NAME}}], "add")


def _patch(kind: str, path: str, value: Any, op: str = "replace") -> dict[str, Any]:
    return {"target": {"kind": kind, "name": NAME}, "patch": as_yaml([{"op": op, "path": path, "value": value}])}
