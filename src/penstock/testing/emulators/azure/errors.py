"""Refusals as Azure Resource Manager words them: `{"error": {"code", "message"}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ArmError(Exception):
    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message, "details": [], "additionalInfo": []}}


def invalid(message: str) -> ArmError:
    return ArmError(400, "ValidationError", message)


def user_error(message: str) -> ArmError:
    return ArmError(400, "UserError", message)


def conflict(message: str) -> ArmError:
    return ArmError(409, "Conflict", message)


def not_found(what: str, name: str) -> ArmError:
    return ArmError(404, "UserError", f"Not found {what} {name}")


def throttled() -> ArmError:
    return ArmError(429, "TooManyRequests", "The request is being throttled.", {"retry-after": "0"})


def internal() -> ArmError:
    return ArmError(500, "InternalServerError", "An internal server error occurred. Please try again.")
