"""Versions of components: made once, never changed. Their specs are no part of the ARM schema: they are held to what Azure's own client
writes (azure-ai-ml), as far as commands and pipelines of commands go; anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from penstock.testing.emulators.azure.errors import not_found, user_error
from penstock.testing.emulators.azure.workspace import ID, Workspace, shown

KIND = "components"
_NODE = re.compile(r"[a-z_][a-z0-9_]*")
_INPUT = re.compile(r"\$\{\{(parent\.inputs|inputs)\.([a-z_][a-z0-9_]*)\}\}")
_TYPES = ("string", "number", "integer", "boolean")
_COMMAND = {"$schema", "name", "version", "type", "command", "environment", "inputs", "is_deterministic", "_source"}
_PIPELINE = {"$schema", "name", "version", "type", "inputs", "jobs", "_source"}
_STEP = {"name", "type", "componentId", "inputs", "environment_variables", "limits", "resources", "queue_settings", "identity"}


def put(workspace: Workspace, name: str, version: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    workspace.schemas.check("workspaces_components_versions", body)
    id_, properties = f"{ID}/components/{name}/versions/{version}", dict(body["properties"])
    old = workspace.of(KIND).get(id_.lower())
    spec = properties.get("componentSpec") or {}
    if old is not None:
        if old["properties"]["componentSpec"] != spec:
            raise user_error(f"The component {name}:{version} already exists and is immutable. Use another version.")
        return 200, old
    if (spec.get("name"), str(spec.get("version"))) != (name, version):
        raise user_error("name and version of componentSpec must be those of the address.")
    if spec.get("type") == "command":
        _check_command(workspace, spec)
    elif spec.get("type") == "pipeline":
        _check_pipeline(workspace, spec)
    else:
        raise user_error(f"Not emulated: components of type {spec.get('type')!r}.")
    workspace.of(KIND)[id_.lower()] = shown(id_, "components/versions", {**properties, "provisioningState": "Succeeded"}, workspace.clock())
    return 201, workspace.of(KIND)[id_.lower()]


def get(workspace: Workspace, name: str, version: str) -> dict[str, Any]:
    found: dict[str, Any] | None = workspace.of(KIND).get(f"{ID}/components/{name}/versions/{version}".lower())
    if found is None:
        raise not_found("component", f"{name}:{version}")
    return found


def spec_of(workspace: Workspace, id_: str) -> dict[str, Any]:
    """The spec of the component of that resource id. Raises ArmError."""
    found = workspace.of(KIND).get(id_.lower())
    if found is None:
        raise user_error(f"Unknown component {id_}")
    spec: dict[str, Any] = found["properties"]["componentSpec"]
    return spec


def filled(text: str, values: Mapping[str, str]) -> str:
    """With the values of its inputs in their places."""
    return _INPUT.sub(lambda found: str(values[found[2]]), text)


def _check_command(workspace: Workspace, spec: Mapping[str, Any]) -> None:
    _known(spec, _COMMAND)
    _inputs(spec)
    if not str(spec.get("environment", "")).startswith("azureml:/subscriptions/"):
        raise user_error("environment must be the ARM id of a version, after 'azureml:'.")
    workspace.image_of(str(spec["environment"]).removeprefix("azureml:"))
    for kind, name in _INPUT.findall(str(spec.get("command", ""))):
        if kind != "inputs" or name not in spec["inputs"]:
            raise user_error(f"The command names an input {name!r} that is not declared.")


def _check_pipeline(workspace: Workspace, spec: Mapping[str, Any]) -> None:
    _known(spec, _PIPELINE)
    _inputs(spec)
    if not spec.get("jobs"):
        raise user_error("A pipeline needs jobs.")
    for node, step in spec["jobs"].items():
        if not _NODE.fullmatch(node) or step.get("name") != node:
            raise user_error(f"Node name {node!r} must be lower letters, numbers and underscores, from a letter or underscore.")
        _known(step, _STEP)
        component = spec_of(workspace, str(step.get("componentId")))
        if component["type"] != "command" or step.get("type") != "command":
            raise user_error("Not emulated: nodes other than commands.")
        if set(step.get("inputs") or {}) != set(component["inputs"]):
            raise user_error(f"Node {node!r} must bind the inputs {sorted(component['inputs'])}.")
        for value in step["inputs"].values():
            if value.get("job_input_type") != "literal" or not isinstance(value.get("value"), str):
                raise user_error("Not emulated: inputs of nodes other than literals.")
            if any(kind != "parent.inputs" or name not in spec["inputs"] for kind, name in _INPUT.findall(value["value"])):
                raise user_error(f"Node {node!r} binds an input that the pipeline does not have.")
        if not all(isinstance(text, str) for text in (step.get("environment_variables") or {}).values()):
            raise user_error("Environment variables must be strings.")


def _inputs(spec: Mapping[str, Any]) -> None:
    for name, told in (spec.get("inputs") or {}).items():
        if not _NODE.fullmatch(name) or told.get("type") not in _TYPES:
            raise user_error(f"Input {name!r} is not valid.")


def _known(value: Mapping[str, Any], keys: set[str]) -> None:
    if unknown := sorted(set(value) - keys):
        raise user_error(f"Unknown field {unknown[0]!r} in componentSpec.")
