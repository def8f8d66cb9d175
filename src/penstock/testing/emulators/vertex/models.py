"""Models and their versions: uploaded by an operation, listed, named by aliases, deleted when no endpoint has them deployed.

Source: ModelService of the API; "How to use model version aliases".
"""

from __future__ import annotations

import re
from typing import Any

from penstock.testing.emulators.vertex import operations
from penstock.testing.emulators.vertex.errors import VertexError, invalid, not_found, precondition
from penstock.testing.emulators.vertex.listing import matcher, page
from penstock.testing.emulators.vertex.messages import v1
from penstock.testing.emulators.vertex.project import Project, check_labels, stamp

KIND, ENDPOINTS, DEFAULT = "models", "endpoints", "default"
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")


def upload(project: Project, request: Any) -> Any:
    """A new model, or with `parent_model` its next version. The first version is the default one."""
    project.check_parent(request.parent)
    model, parent = request.model, request.parent_model
    check_labels(model.labels)
    _check(request)
    if parent and request.model_id:
        raise invalid([("model_id", "It cannot be set together with parent_model.")])
    name = parent or f"{project.parent}/{KIND}/{request.model_id or project.new_id()}"
    if not parent and name in project.of(KIND):
        raise VertexError("ALREADY_EXISTS", f"Model {name} already exists.")
    if model.container_spec.image_uri not in project.images:
        raise VertexError("NOT_FOUND", f"Image {model.container_spec.image_uri} not found.")
    versions = _versions(project, parent) if parent else {}
    number = str(1 + max((int(id_) for id_ in versions), default=0))
    model.name, model.version_id = name, number
    aliases = [*model.version_aliases, *([] if parent else [DEFAULT])]
    model.version_aliases = []
    now = stamp(project.clock())
    model.create_time = model.update_time = model.version_create_time = model.version_update_time = now
    versions[number] = model
    _move(versions, number, [alias for alias in aliases if _valid(alias)])
    project.of(KIND)[name] = versions
    response = v1.UploadModelResponse(model=name, model_version_id=number)
    return operations.at_once(project, name, v1.UploadModelOperationMetadata(), response)


def merge_aliases(project: Project, request: Any) -> Any:
    """Exactly one version has the default alias, so that can be moved and not taken away."""
    row = _numbered(project, request.name)
    versions = _versions(project, row.name)
    gone = {alias[1:] for alias in request.version_aliases if alias.startswith("-")}
    if DEFAULT in gone:
        raise precondition("The default alias cannot be removed; give it to another version.")
    added = [alias for alias in request.version_aliases if not alias.startswith("-")]
    if not all(_valid(alias) for alias in (*added, *gone)):
        raise invalid([("version_aliases", "An alias must match [a-z][a-zA-Z0-9-]{0,126}[a-z0-9].")])
    _move(versions, row.version_id, added)
    row.version_aliases = [alias for alias in row.version_aliases if alias not in gone]
    return row


def _valid(alias: str) -> bool:
    return _ALIAS.fullmatch(alias) is not None


def _move(versions: dict[str, Any], number: str, aliases: list[str]) -> None:
    for id_, row in versions.items():
        kept = [alias for alias in row.version_aliases if alias not in aliases]
        row.version_aliases = [*kept, *aliases] if id_ == number else kept


def update(project: Project, request: Any) -> Any:
    """Of one version: its description and labels. What belongs to the whole model is not emulated."""
    if "@" not in request.model.name:
        raise precondition("Updates of a whole model are not emulated; name a version.")
    row, paths = _numbered(project, request.model.name), set(request.update_mask.paths)
    if not paths or paths - {"version_description", "labels"}:
        raise invalid([("update_mask", f"{sorted(paths)} cannot be updated for a version.")])
    if "labels" in paths:
        check_labels(request.model.labels)
        row.labels = dict(request.model.labels)
    if "version_description" in paths:
        row.version_description = request.model.version_description
    row.update_time = row.version_update_time = stamp(project.clock())
    return row


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
    """A version by the model's name and `@` with its number or alias; without, the default one."""
    plain, _, which = name.partition("@")
    versions = _versions(project, plain)
    row = versions.get(which) or next((row for row in versions.values() if (which or DEFAULT) in row.version_aliases), None)
    if row is None:
        raise not_found("Model", name)
    return row


def _numbered(project: Project, name: str) -> Any:
    if not name.rpartition("@")[2].isdigit():
        raise invalid([("name", "The version id must be given.")])
    return named(project, name)


def _versions(project: Project, name: str) -> dict[str, Any]:
    found: dict[str, Any] | None = project.of(KIND).get(name)
    if found is None:
        raise not_found("Model", name)
    return found


def list_(project: Project, request: Any) -> Any:
    project.check_parent(request.parent)
    fits = matcher(request.filter, _value)
    rows, token = page([row for name in project.of(KIND) if fits(row := named(project, name))], request)
    return v1.ListModelsResponse(models=rows, next_page_token=token)


def list_versions(project: Project, request: Any) -> Any:
    fits = matcher(request.filter, _value)
    rows, token = page([row for row in _versions(project, request.name.partition("@")[0]).values() if fits(row)], request)
    return v1.ListModelVersionsResponse(models=rows, next_page_token=token)


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
    return operations.at_once(project, model.name, v1.DeleteOperationMetadata(), operations.nothing())
