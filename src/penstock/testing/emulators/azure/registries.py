"""Registries of an organisation: `workspace.of("registries")` names them; each keeps the bytes of what is in it, put by a signed address.

Source: REST reference, "Registry Model Versions": a change is an operation, a version's bytes are uploaded before it is made.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from penstock.testing.emulators.azure import assets
from penstock.testing.emulators.azure.errors import ArmError, conflict, invalid
from penstock.testing.emulators.azure.workspace import Workspace

KIND, BLOBS = "registries", "/registry-blobs/"


def shelf(workspace: Workspace, registry: str) -> assets.Shelf:
    """Of models. Raises ArmError 404."""
    if registry not in workspace.of(KIND):
        raise ArmError(404, "ResourceNotFound", f"The Resource 'Microsoft.MachineLearningServices/registries/{registry}' was not found.")
    return assets.Shelf("models", registry)


def start_upload(workspace: Workspace, registry: str, name: str, version: str, body: Any) -> dict[str, Any]:
    """Where to put the bytes of a version that is not there yet; the same upload again has the same place."""
    place = shelf(workspace, registry)
    if version in place.held(workspace).get(name, {"versions": {}})["versions"]:
        raise conflict(f"The model {name}:{version} already exists in the registry.")
    if not isinstance(body, dict) or set(body) - {"pendingUploadId", "pendingUploadType"}:
        raise invalid("The request content was invalid.")
    if body.get("pendingUploadType") != "TemporaryBlobReference":
        raise invalid("TemporaryBlobReference is the only pendingUploadType.")
    upload = body.get("pendingUploadId") or secrets.token_hex(16)
    address = f"{workspace.url}{BLOBS}{registry}-{upload}"
    credential = {"credentialType": "SAS", "sasUri": f"{address}?sig={workspace.secret}&sp=rcw"}
    reference = {"blobUri": address, "storageAccountArmId": "", "credential": credential}
    return {"blobReferenceForConsumption": reference, "pendingUploadId": upload, "pendingUploadType": "TemporaryBlobReference"}


def put_blob(workspace: Workspace, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> None:
    if query.get("sig") != workspace.secret:
        raise ArmError(403, "AuthenticationFailed", "Signature did not match.")
    if headers.get("x-ms-blob-type") != "BlockBlob":
        raise ArmError(400, "MissingRequiredHeader", "x-ms-blob-type")
    with workspace.lock:
        workspace.of(assets.BLOBS_KIND)[f"{workspace.url}{path}"] = body
