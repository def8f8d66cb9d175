"""What is registered in the workspace, or models in an organisation's registry: datastores, models, data; of the latter two versions whose
content never changes.

Only description, tags, stage and isArchived of a version change, as Azure says when one tries. Archived ones are listed when asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.testing.emulators.azure.errors import invalid, not_found, user_error
from penstock.testing.emulators.azure.workspace import GROUP_ID, ID, Workspace, shown, stamp

DATASTORES, BLOBS_KIND = "datastores", "registry-blobs"
REGISTRIES = f"{GROUP_ID}/providers/Microsoft.MachineLearningServices/registries"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_STORE_NAME = re.compile(r"[a-zA-Z0-9_]{1,255}")
_MAY_CHANGE = {"description", "tags", "stage", "isArchived"}
_PATH = {"models": "modelUri", "data": "dataUri"}
_URI = re.compile(r"azureml:/(/.+)/datastores/([^/]+)/paths/.+")
_HERE = ID.replace("/providers/Microsoft.MachineLearningServices", "").lower()


@dataclass(frozen=True, slots=True)
class Shelf:
    """Of one kind, in the workspace or in an organisation's registry."""

    kind: str
    registry: str = ""

    @property
    def id(self) -> str:
        return f"{REGISTRIES}/{self.registry}/{self.kind}" if self.registry else f"{ID}/{self.kind}"

    @property
    def schema(self) -> str:
        return f"{'registries' if self.registry else 'workspaces'}_{self.kind}"

    def held(self, workspace: Workspace) -> dict[str, Any]:
        """By name: `row`, and `versions` by version."""
        return workspace.of(f"{self.registry}/{self.kind}" if self.registry else self.kind)


def put_datastore(workspace: Workspace, name: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    workspace.schemas.check("workspaces_datastores", body)
    if not _STORE_NAME.fullmatch(name):
        raise invalid(f"Datastore name {name!r} is not valid: letters, digits and '_'.")
    properties = body["properties"]
    if properties["datastoreType"] == "AzureBlob" and not (properties.get("accountName") and properties.get("containerName")):
        raise invalid("accountName and containerName are required.")
    check_tags(properties)
    status = 200 if name in workspace.of(DATASTORES) else 201
    workspace.of(DATASTORES)[name] = shown(f"{ID}/datastores/{name}", DATASTORES, properties, workspace.clock())
    return status, workspace.of(DATASTORES)[name]


def get_datastore(workspace: Workspace, name: str) -> dict[str, Any]:
    found: dict[str, Any] | None = workspace.of(DATASTORES).get(name)
    if found is None:
        raise not_found("datastore", name)
    return found


def put_container(workspace: Workspace, shelf: Shelf, name: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    workspace.schemas.check(shelf.schema, body)
    _check_name(shelf, name)
    check_tags(body["properties"])
    old = shelf.held(workspace).get(name)
    row = shown(f"{shelf.id}/{name}", shelf.kind, body["properties"], workspace.clock())
    shelf.held(workspace)[name] = {"row": row, "versions": old["versions"] if old is not None else {}}
    return 201 if old is None else 200, row


def get_container(workspace: Workspace, shelf: Shelf, name: str) -> dict[str, Any]:
    row: dict[str, Any] = _container(workspace, shelf, name)["row"]
    return row


def put(workspace: Workspace, shelf: Shelf, name: str, version: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """The container comes with its first version."""
    workspace.schemas.check(f"{shelf.schema}_versions", body)
    _check_name(shelf, name)
    _check_name(shelf, version)
    properties = dict(body["properties"])
    check_tags(properties)
    held, now = shelf.held(workspace).get(name), workspace.clock()
    if held is None:
        held = {"row": shown(f"{shelf.id}/{name}", shelf.kind, {}, now), "versions": {}}
    old = held["versions"].get(version)
    if old is None:
        _check_path(workspace, shelf, properties.get(_PATH[shelf.kind]))
        row = shown(
            f"{shelf.id}/{name}/versions/{version}", f"{shelf.kind}/versions", {**properties, "provisioningState": "Succeeded"}, now
        )
        held["versions"][version] = row
        shelf.held(workspace)[name] = held
    else:
        before = {key: value for key, value in old["properties"].items() if key != "provisioningState"}
        changed = sorted(key for key in {*before, *properties} - _MAY_CHANGE if before.get(key) != properties.get(key))
        if changed:
            raise user_error(
                f"A {shelf.kind.removesuffix('s')} version with this name and version already exists. If you are trying to create a new "
                f"one, use a different name or version. If you are trying to update an existing one, its {changed[0]} cannot be changed. "
                "Only tags, description, and isArchived can be updated."
            )
        row = old
        row["properties"] = {**properties, "provisioningState": "Succeeded"}
    row["systemData"]["lastModifiedAt"] = stamp(now)
    return 201 if old is None else 200, row


def get(workspace: Workspace, shelf: Shelf, name: str, version: str) -> dict[str, Any]:
    found: dict[str, Any] | None = _container(workspace, shelf, name)["versions"].get(version)
    if found is None:
        raise not_found(shelf.kind, f"{name}:{version}")
    return found


def rows(workspace: Workspace, shelf: Shelf, name: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Newest first. `listViewType`: ActiveOnly (the default), ArchivedOnly, All."""
    view = query.get("listViewType", "ActiveOnly")
    if view not in ("ActiveOnly", "ArchivedOnly", "All"):
        raise invalid(f"listViewType {view!r} is not known.")
    found = reversed(list(_container(workspace, shelf, name)["versions"].values()))
    return [row for row in found if view == "All" or bool(row["properties"].get("isArchived")) == (view == "ArchivedOnly")]


def check_tags(properties: Mapping[str, Any]) -> None:
    for key, value in (properties.get("tags") or {}).items():
        if len(key) > 512 or len(value) > 256:
            raise user_error(f"Tag {key!r} is too long: a name has at most 512 characters, a value 256.")


def _container(workspace: Workspace, shelf: Shelf, name: str) -> dict[str, Any]:
    found: dict[str, Any] | None = shelf.held(workspace).get(name)
    if found is None:
        raise not_found(shelf.kind, name)
    return found


def _check_name(shelf: Shelf, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise invalid(f"{shelf.kind}: {name!r} is not valid: 1 to 255 letters, digits, '-', '_' and '.', beginning with a letter or digit.")


def _check_path(workspace: Workspace, shelf: Shelf, uri: Any) -> None:
    """Paths that are emulated lie in a datastore of the workspace, whatever is there, or where a registry had them uploaded."""
    if shelf.registry:
        if not any(address.startswith(f"{uri}/") for address in workspace.of(BLOBS_KIND)):
            raise user_error(f"Nothing was uploaded to {uri!r}.")
        return
    found = _URI.fullmatch(str(uri or ""))
    if found is None or found[1].lower() != _HERE:
        raise user_error(f"The path {uri!r} is not supported; use azureml://…/datastores/<name>/paths/<path>.")
    if found[2] not in workspace.of(DATASTORES):
        raise user_error(f"The datastore {found[2]} was not found.")
