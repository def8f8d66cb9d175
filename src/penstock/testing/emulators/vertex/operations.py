"""Long-running operations: a name to ask by, and what came of it. Each moves on when somebody asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import any_pb2, empty_pb2

from penstock.testing.emulators.vertex.errors import VertexError, not_found
from penstock.testing.emulators.vertex.project import Project

KIND = "operations"


@dataclass(slots=True)
class Operation:
    """`advance` gives the response once the work is done, None before, and raises VertexError when it failed."""

    name: str
    metadata: Any
    advance: Callable[[], Any]
    response: Any = None
    failed: VertexError | None = None

    @property
    def done(self) -> bool:
        return self.response is not None or self.failed is not None


def begin(project: Project, resource: str, metadata: Any, advance: Callable[[], Any]) -> Any:
    """A new operation on `resource`, as the API answers it."""
    name = f"{resource}/operations/{project.new_id()}"
    operation = project.of(KIND)[name] = Operation(name, metadata, advance)
    return shown(operation)


def at_once(project: Project, resource: str, metadata: Any, response: Any) -> Any:
    return begin(project, resource, metadata, lambda: response)


def settle_all(project: Project) -> None:
    for operation in list(project.of(KIND).values()):
        _settle(operation)


def get(project: Project, request: Any) -> Any:
    operation = project.of(KIND).get(request.name)
    if operation is None:
        raise not_found("operation", request.name)
    _settle(operation)
    return shown(operation)


def list_(project: Project, request: Any) -> Any:
    settle_all(project)
    rows = [shown(one) for name, one in project.of(KIND).items() if name.startswith(f"{request.name}/")]
    return operations_pb2.ListOperationsResponse(operations=rows)


def nothing() -> Any:
    return empty_pb2.Empty()


def _settle(operation: Operation) -> None:
    if operation.done:
        return
    try:
        operation.response = operation.advance()
    except VertexError as error:
        operation.failed = error


def shown(operation: Operation) -> Any:
    _settle(operation)
    found = operations_pb2.Operation(name=operation.name, done=operation.done, metadata=_boxed(operation.metadata))
    if operation.failed is not None:
        found.error.CopyFrom(operation.failed.status())
    elif operation.response is not None:
        found.response.CopyFrom(_boxed(operation.response))
    return found


def _boxed(message: Any) -> Any:
    raw = type(message).pb(message) if hasattr(type(message), "pb") else message
    box = any_pb2.Any()
    box.Pack(raw)
    return box
