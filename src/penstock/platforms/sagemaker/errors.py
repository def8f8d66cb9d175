"""What AWS refuses and why, as our errors with the way out."""

from __future__ import annotations

from typing import Any

from penstock.core.errors import BadInput, PenstockError, PlatformAway, PlatformDenied, PlatformFull

THROTTLED = frozenset(
    ("ThrottlingException", "Throttling", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded", "RequestThrottled")
)
_SIGN_IN = frozenset(("ExpiredTokenException", "ExpiredToken", "RequestExpired", "UnrecognizedClientException", "InvalidClientTokenId"))
_DENIED = frozenset(
    ("AccessDeniedException", "AccessDenied", "MissingAuthenticationTokenException", "InvalidSignatureException", "OptInRequired")
)
_FULL = frozenset(
    (
        *("ResourceLimitExceeded", "LimitExceededException", "InsufficientCapacityException", "CapacityError"),
        *("StateMachineLimitExceeded", "ExecutionLimitExceeded", "ServiceQuotaExceededException"),
    )
)
_CHANGING = frozenset(("StateMachineDeleting", "ConcurrentModificationException"))


def code_of(error: Exception) -> tuple[str, str, int]:
    """(code, message, HTTP status) of a botocore ClientError; empty ones and 0 for any other error."""
    answer: Any = getattr(error, "response", None)
    if not isinstance(answer, dict) or "Error" not in answer:
        return "", str(error), 0
    told = answer["Error"]
    return str(told.get("Code", "")), str(told.get("Message", "")), int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def may_pass(error: Exception) -> bool:
    """Whether the same call may succeed a little later: throttling, 5xx, a connection that was lost or not made."""
    from botocore import exceptions

    code, _, status = code_of(error)
    if code:
        return code in THROTTLED or status >= 500
    return isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError)


def translated(error: Exception, doing: str) -> PenstockError:
    """`doing`: the call, as "sagemaker:CreateTrainingJob"."""
    from botocore import exceptions

    code, message, _ = code_of(error)
    if not code:
        if isinstance(error, _no_credentials()):
            return PlatformDenied(
                f"{doing}: {message}", remedy="Sign in (`aws sso login`, or `aws configure`); `aws sts get-caller-identity` tells."
            )
        if isinstance(error, exceptions.ParamValidationError | exceptions.NoRegionError):
            return BadInput(f"{doing}: {message}")
        return PlatformAway(f"{doing}: AWS was not reached ({message})")
    told = f"{doing} was refused: {message} ({code})"
    if code in _SIGN_IN:
        return PlatformDenied(
            told, remedy="The session ended or its keys are unknown: sign in again (`aws sso login`); jobs that run go on."
        )
    if code == "InvalidSignatureException" and "expired" in message:
        return PlatformDenied(told, remedy="This machine's clock is off: set it (NTP), then ask again.")
    if code in _DENIED:
        return PlatformDenied(
            told, remedy=f"Grant {doing} to whoever runs Penstock; docs/how-to/run-on-sagemaker.md lists all that is needed."
        )
    if "Could not assume role" in message:
        return PlatformDenied(told, remedy="Give `role` of the platform's section a trust policy for sagemaker.amazonaws.com.")
    if code in _FULL:
        return PlatformFull(told, remedy="Ask for more at Service Quotas, or choose another machine, region or platform.")
    if code in THROTTLED or code in _CHANGING or code.startswith(("Internal", "Service")):
        return PlatformAway(told)
    return BadInput(told)


def _no_credentials() -> tuple[type[Exception], ...]:
    from botocore import exceptions as e

    return (
        *(e.NoCredentialsError, e.PartialCredentialsError, e.CredentialRetrievalError, e.ProfileNotFound),
        *(e.TokenRetrievalError, e.SSOTokenLoadError, e.UnauthorizedSSOTokenError),
    )
