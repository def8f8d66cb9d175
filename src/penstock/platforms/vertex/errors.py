"""What Google refuses and why, as our errors with the way out."""

from __future__ import annotations

from penstock.core.errors import BadInput, PenstockError, PlatformAway, PlatformDenied, PlatformFull

GUIDE = "docs/how-to/run-on-vertex.md lists all that is needed"
_SIGN_IN = "Sign in (`gcloud auth application-default login`), or set GOOGLE_APPLICATION_CREDENTIALS; jobs that run go on."


def reason_of(error: Exception) -> str:
    """The reason of google.rpc.ErrorInfo, such as RATE_LIMIT_EXCEEDED; empty where none was given."""
    return str(getattr(error, "reason", None) or "")


def may_pass(error: Exception) -> bool:
    """Whether the same call may succeed a little later: too many calls, 5xx, a connection that was lost or not made."""
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    if isinstance(error, api.ResourceExhausted):
        return reason_of(error) == "RATE_LIMIT_EXCEEDED"
    if isinstance(error, auth.TransportError):
        return True
    return isinstance(error, api.ServerError | api.Aborted | api.RetryError | ConnectionError | TimeoutError)


def translated(error: Exception, doing: str) -> PenstockError:
    """`doing`: the call, as "JobService.CreateCustomJob"."""
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    told = f"{doing}: {getattr(error, 'message', None) or error}"
    if isinstance(error, auth.TransportError) or may_pass(error):
        return PlatformAway(told)
    if isinstance(error, auth.GoogleAuthError | api.Unauthenticated):
        return PlatformDenied(told, remedy=_SIGN_IN)
    if isinstance(error, api.PermissionDenied | api.Forbidden):
        if reason_of(error) == "SERVICE_DISABLED":
            return PlatformDenied(told, remedy="Switch it on: `gcloud services enable aiplatform.googleapis.com`, and wait a few minutes.")
        if "act as service_account" in told:
            return PlatformDenied(told, remedy="Grant roles/iam.serviceAccountUser on `service_account` to whoever runs Penstock.")
        return PlatformDenied(told, remedy=f"Grant the permission to whoever runs Penstock (roles/aiplatform.user); {GUIDE}.")
    if isinstance(error, api.ResourceExhausted):
        return PlatformFull(told, remedy="Ask for more at IAM & Admin → Quotas, or choose another machine, region or platform.")
    if isinstance(error, api.GoogleAPICallError):
        return BadInput(told)
    return PlatformAway(told)
