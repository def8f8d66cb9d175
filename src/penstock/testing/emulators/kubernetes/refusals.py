"""The errors of the API server, in its own shape (metav1.Status)."""

from __future__ import annotations

from typing import Any

from penstock.testing.emulators.kubernetes.kinds import Kind


class Refusal(Exception):
    """`code` is the HTTP status; `reason` the StatusReason that clients switch on."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None, retry_s: int | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details, self.retry_s = code, reason, message, details or {}, retry_s

    def status(self) -> dict[str, Any]:
        details = {**self.details, **({"retryAfterSeconds": self.retry_s} if self.retry_s is not None else {})}
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message, "reason": self.reason}
        return {**body, "details": details, "code": self.code}


def _details(kind: Kind, name: str) -> dict[str, Any]:
    return {"name": name, "kind": kind.plural, **({"group": kind.group} if kind.group else {})}


def not_found(kind: Kind, name: str) -> Refusal:
    return Refusal(404, "NotFound", f'{kind.qualified} "{name}" not found', _details(kind, name))


def exists(kind: Kind, name: str) -> Refusal:
    return Refusal(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', _details(kind, name))


def changed(kind: Kind, name: str) -> Refusal:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return Refusal(409, "Conflict", f'Operation cannot be fulfilled on {kind.qualified} "{name}": {why}', _details(kind, name))


def invalid(kind: Kind, name: str, field: str, why: str) -> Refusal:
    shown = f"{kind.name}.{kind.group}" if kind.group else kind.name
    cause = {"reason": "FieldValueInvalid", "message": why, "field": field}
    return Refusal(422, "Invalid", f'{shown} "{name}" is invalid: {field}: {why}', {**_details(kind, name), "causes": [cause]})


def malformed(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def forbidden(kind: Kind, name: str, why: str) -> Refusal:
    return Refusal(403, "Forbidden", f'{kind.qualified} "{name}" is forbidden: {why}', _details(kind, name))


def gone(message: str) -> Refusal:
    return Refusal(410, "Expired", message)


def no_such_path() -> Refusal:
    return Refusal(404, "NotFound", "the server could not find the requested resource")
