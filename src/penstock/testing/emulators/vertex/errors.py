"""What the service refuses, as google.rpc says it: a code, a message, details."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "aiplatform.googleapis.com"


class VertexError(Exception):
    """`code` names a grpc.StatusCode."""

    def __init__(self, code: str, message: str, *details: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, details

    @property
    def number(self) -> int:
        return int(grpc.StatusCode[self.code].value[0])

    def status(self) -> Any:
        """As google.rpc.Status."""
        packed = []
        for detail in self.details:
            box = any_pb2.Any()
            box.Pack(detail)
            packed.append(box)
        return status_pb2.Status(code=self.number, message=self.message, details=packed)


def info(reason: str, **metadata: str) -> Any:
    return error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)


def invalid(violations: Sequence[tuple[str, str]]) -> VertexError:
    """`violations`: (field, what is wrong with it)."""
    rows = [error_details_pb2.BadRequest.FieldViolation(field=field, description=text) for field, text in violations]
    told = "".join(f"\t{n}.Field: {field}; Message: {text}" for n, (field, text) in enumerate(violations, 1))
    return VertexError("INVALID_ARGUMENT", f"List of found errors:{told}\t", error_details_pb2.BadRequest(field_violations=rows))


def not_found(kind: str, name: str) -> VertexError:
    return VertexError("NOT_FOUND", f"The {kind} does not exist: {name}.")


def precondition(message: str) -> VertexError:
    return VertexError("FAILED_PRECONDITION", message)


def over_quota(metric: str) -> VertexError:
    violation = error_details_pb2.QuotaFailure.Violation(subject=f"{DOMAIN}/{metric}", description="quota exceeded")
    message = f"The following quota metrics exceed quota limits: {DOMAIN}/{metric}"
    return VertexError("RESOURCE_EXHAUSTED", message, error_details_pb2.QuotaFailure(violations=[violation]))


def too_many_requests(permission: str) -> VertexError:
    metadata: Mapping[str, str] = {"quota_limit": "ResourceManagementRequestsPerMinutePerProjectPerRegion"}
    return VertexError(
        "RESOURCE_EXHAUSTED", f"Quota exceeded for requests per minute ({permission}).", info("RATE_LIMIT_EXCEEDED", **metadata)
    )
