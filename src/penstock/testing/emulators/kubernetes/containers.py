"""What a container is started with: its command and variables as a kubelet makes them, for a process of this machine.

Empty volumes are folders of the pod; a value that lies below one is rewritten to there. A variable that is the name of a pod in the
cluster's DNS is rewritten to its address, since a process here asks no such DNS.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.testing.emulators.kubernetes.objects import Object
from penstock.testing.emulators.kubernetes.world import World

_VARIABLE = re.compile(r"\$(\$?)\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")


class NotConfigured(Exception):
    """A variable refers to nothing: CreateContainerConfigError."""


def command_of(container: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[str, ...]:
    words = [*(container.get("command") or ("penstock",)), *(container.get("args") or ())]
    return tuple(_expanded(word, environment) for word in words)


def environment_of(pod: Object, container: Mapping[str, Any], world: World, folder: Path) -> dict[str, str]:
    """Raises NotConfigured."""
    found: dict[str, str] = {}
    space = pod["metadata"]["namespace"]
    for source in container.get("envFrom") or ():
        for kind, key in (("Secret", "secretRef"), ("ConfigMap", "configMapRef")):
            if key in source:
                found |= _values(world, kind, space, source[key]["name"])
    for variable in container.get("env") or ():
        found[variable["name"]] = _value(pod, variable, found, world)
    found = {name: _resolved(value, pod, world) for name, value in found.items()}
    return {name: _on_disk(value, pod, container, folder) for name, value in found.items()}


def _value(pod: Object, variable: Mapping[str, Any], found: Mapping[str, str], world: World) -> str:
    source = variable.get("valueFrom")
    if source is None:
        return _expanded(variable.get("value", ""), found)
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    for kind, key in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
        if key in source:
            values = _values(world, kind, pod["metadata"]["namespace"], source[key]["name"])
            if source[key]["key"] not in values:
                raise NotConfigured(f"couldn't find key {source[key]['key']} in {kind} {source[key]['name']}")
            return values[source[key]["key"]]
    raise NotConfigured(f"the variable {variable['name']} has a source that is not known here: {', '.join(source)}")


def _values(world: World, kind: str, space: str, name: str) -> dict[str, str]:
    found = world.get(kind, space, name)
    if found is None:
        raise NotConfigured(f'{kind.lower()} "{name}" not found')
    data = dict(found.get("data") or {})
    if kind == "Secret":
        data = {key: base64.b64decode(value).decode() for key, value in data.items()}
    return {**data, **(found.get("stringData") or {})}


def _field(pod: Object, path: str) -> str:
    if found := re.fullmatch(r"metadata\.(annotations|labels)\['([^']+)'\]", path):
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    value: Any = pod
    for part in path.split("."):
        value = (value or {}).get(part)
    return str(value or "")


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda m: f"$({m[2]})" if m[1] else environment.get(m[2], m[0]), text)


def _resolved(value: str, pod: Object, world: World) -> str:
    host, _, rest = value.partition(".")
    if not rest or "/" in value:
        return value
    domain = rest.removesuffix(f".{pod['metadata']['namespace']}.svc.cluster.local").removesuffix(f".{pod['metadata']['namespace']}.svc")
    for other in world.all("Pod"):
        spec = other["spec"]
        if (spec.get("hostname"), spec.get("subdomain")) == (host, domain) and other.get("status", {}).get("podIP"):
            return str(other["status"]["podIP"])
    return value


def _on_disk(value: str, pod: Object, container: Mapping[str, Any], folder: Path) -> str:
    empty = {volume["name"] for volume in pod["spec"].get("volumes") or () if "emptyDir" in volume}
    for mount in container.get("volumeMounts") or ():
        path = mount["mountPath"].rstrip("/")
        if mount["name"] in empty and (value == path or value.startswith(f"{path}/")):
            return str(folder / mount["name"]) + value[len(path) :]
    return value
