"""Versions of environments: made once, never changed in what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.testing.emulators.azure.errors import not_found, user_error
from penstock.testing.emulators.azure.workspace import ID, Workspace, shown

KIND = "environments"
_MAY_CHANGE = ("description", "tags", "isArchived", "properties")


def put(workspace: Workspace, name: str, version: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    workspace.schemas.check("workspaces_environments_versions", body)
    id_, properties = f"{ID}/environments/{name}/versions/{version}", dict(body["properties"])
    old = workspace.of(KIND).get(id_.lower())
    if old is None:
        if ("image" in properties) == ("build" in properties):
            raise user_error("An environment needs either an image or a build context.")
        workspace.of(KIND)[id_.lower()] = shown(id_, "environments/versions", properties, workspace.clock())
        return 201, workspace.of(KIND)[id_.lower()]
    if any(old["properties"].get(key) != properties.get(key) for key in {*old["properties"], *properties} - set(_MAY_CHANGE)):
        raise user_error(f"The environment {name}:{version} already exists and is immutable. Use another version.")
    return 200, old


def get(workspace: Workspace, name: str, version: str) -> dict[str, Any]:
    found: dict[str, Any] | None = workspace.of(KIND).get(f"{ID}/environments/{name}/versions/{version}".lower())
    if found is None:
        raise not_found("environment", f"{name}:{version}")
    return found
