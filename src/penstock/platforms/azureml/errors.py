"""What Azure refuses and why, as our errors with the way out."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from penstock.core.errors import BadInput, PenstockError, PlatformAway, PlatformDenied, PlatformFull

_FULL = ("quota", "capacity", "limitexceeded", "toomanyrequests")
_SIGN_IN = "Sign in (`az login`), or give this machine an identity; `az account show` tells which one is used."


class Refusal(Exception):
    """An answer with a status of 400 or more."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{message} ({code or status})")
        self.status, self.code, self.message, self.retry_after_s = status, code, message, retry_after_s


def refusal_of(status: int, body: bytes, retry_after: str | None) -> Refusal:
    """Of ARM's `{"error": {"code", "message"}}`, or whatever came instead."""
    error: Any = {}
    with contextlib.suppress(ValueError, AttributeError):
        error = json.loads(body).get("error") or {}
    told = error if isinstance(error, dict) else {}
    message = str(told.get("message") or body[:300].decode("utf-8", "replace"))
    wait = float(retry_after) if retry_after is not None and retry_after.replace(".", "", 1).isdigit() else 0.0
    return Refusal(status, str(told.get("code") or ""), message, wait)


def is_azures(error: Exception) -> bool:
    """Whether Azure, or the way there, made the error; any other is a mistake of ours, or says the way out already."""
    from azure.core import exceptions

    return isinstance(error, Refusal | exceptions.AzureError)


def may_pass(error: Exception) -> bool:
    """Whether the same call may succeed a little later: throttling, 5xx, a connection that was lost or not made."""
    from azure.core import exceptions

    if isinstance(error, Refusal):
        return error.status in (408, 429) or error.status >= 500
    return isinstance(error, exceptions.ServiceRequestError | exceptions.ServiceResponseError)


def asked_to_wait_s(error: Exception) -> float:
    return error.retry_after_s if isinstance(error, Refusal) else 0.0


def translated(error: Exception, doing: str) -> PenstockError:
    """`doing`: the call, as "PUT jobs/NAME"."""
    from azure.core import exceptions

    if isinstance(error, exceptions.ClientAuthenticationError):
        return PlatformDenied(f"{doing}: no credentials of Azure's chain serve here: {_first_line(error)}", remedy=_SIGN_IN)
    if not isinstance(error, Refusal):
        return PlatformAway(f"{doing}: Azure was not reached ({_first_line(error)})")
    told = f"{doing} was refused: {error.message} ({error.code or error.status})"
    if error.status == 401:
        return PlatformDenied(told, remedy=f"The session ended, or is another tenant's. {_SIGN_IN} Jobs that run go on.")
    if error.status == 403:
        return PlatformDenied(
            told,
            remedy="Give whoever runs Penstock the role AzureML Data Scientist on the workspace; docs/how-to/run-on-azure.md lists all.",
        )
    if error.status == 429 or error.status >= 500:
        return PlatformAway(told)
    if is_full(error.code, error.message):
        return PlatformFull(told, remedy="Ask for more quota in the studio (Quota), or choose another machine, region or platform.")
    return BadInput(told)


def is_full(code: str, message: str) -> bool:
    """Whether a refusal, or the end of a job or deployment, says that quota or capacity was short."""
    return any(word in code.lower() for word in _FULL) or "quota" in message.lower() or "lack of capacity" in message.lower()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
