"""Models: uploaded by an operation, listed, deleted when no endpoint has them deployed. Source: ModelService of the API."""

from __future__ import annotations

import re
from typing import Any

from google.cloud import aiplatform_v1 as v1
from google.cloud.aiplatform_v1.types import operation as gca_operation

from penstock.testing.emulators.vertex import operations
from penstock.testing.emulators.vertex.errors import VertexError, invalid, not_found, precondition
from penstock.testing.emulators.vertex.listing import matcher, page
from penstock.testing.emulators.vertex.project import Project, check_labels, stamp

KIND, ENDPOINTS = "models", "endpoints"
_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")


def upload(project: Project, request: Any) -> Any:
    project.check_parent(request.parent)
    model, name = request.model, f"{project.parent}/{KIND}/{request.model_id or project.new_id()}"
    check_labels(model.labels)
    _check(request)
    if name in project.of(KIND):
        raise VertexError("ALREADY_EXISTS", f"Model {name} already exists.")
    if model.container_spec.image_uri not in project.images:
        raise VertexError("NOT_FOUND", f"Image {model.container_spec.image_uri} not found.")
    model.name, model.version_id = name, "1"
    model.version_aliases = ["default"]
    model.create_time = model.update_time = stamp(project.clock())
    project.of(KIND)[name] = model
    response = v1.UploadModelResponse(model=name, model_version_id="1")
    return operations.at_once(project, name, v1.UploadModelOperationMetadata(), response)


def _check(request: Any) -> None:
    spec, wrong = request.model.container_spec, []
    if request.model_id and not _ID.fullmatch(request.model_id):
        wrong.append(("model_id", f"The model id {request.model_id!r} is not valid."))
    if spec.invoke_route_prefix not in ("", "/*"):
        wrong.append(("model.container_spec.invoke_route_prefix", '"/*" is the only supported value.'))
    if spec.invoke_route_prefix and spec.predict_route:
        wrong.append(("model.container_spec.predict_route", "Only one of predict_route and invoke_route_prefix can be set."))
    if len(spec.env) > 100:
        wrong.append(("model.container_spec.env", "At most 100 environment variables are allowed."))
    wrong += [("model.container_spec.ports", "A port must be between 1 and 65535.") for p in spec.ports if not 0 < p.container_port < 65536]
    if not request.model.display_name:
        wrong.append(("model.display_name", "Required field is not set."))
    if wrong:
        raise invalid(wrong)


def get(project: Project, request: Any) -> Any:
    return named(project, request.name)


def named(project: Project, name: str) -> Any:
    """By its name, with or without a version."""
    model = project.of(KIND).get(name.partition("@")[0])
    if model is None:
        raise not_found("Model", name)
    return model


def list_(project: Project, request: Any) -> Any:
    project.check_parent(request.parent)
    fits = matcher(request.filter, _value)
    rows, token = page([row for row in project.of(KIND).values() if fits(row)], request)
    return v1.ListModelsResponse(models=rows, next_page_token=token)


def _value(row: Any, field: str) -> str | None:
    if field.startswith("labels."):
        return dict(row.labels).get(field.removeprefix("labels."))
    if field == "display_name":
        return str(row.display_name)
    raise VertexError("INVALID_ARGUMENT", f"Invalid filter: {field} is not supported.")


def delete(project: Project, request: Any) -> Any:
    model = named(project, request.name)
    used = [one.row.name for one in project.of(ENDPOINTS).values() if any(d.row.model == model.name for d in one.deployed.values())]
    if used:
        raise precondition(f'The Model "{model.name}" is deployed or being deployed at the following Endpoint(s): {used}.')
    del project.of(KIND)[model.name]
    return operations.at_once(project, model.name, gca_operation.DeleteOperationMetadata(), operations.nothing())
