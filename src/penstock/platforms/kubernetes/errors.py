"""The cluster's errors as ours, each with the way out."""

from __future__ import annotations

import json
from typing import Any

from penstock.core.errors import BadInput, PenstockError, PlatformAway, PlatformDenied, PlatformFull

PASSING = frozenset({408, 429, 500, 502, 503, 504})


class Answered(Exception):
    """An answer that is no success. `status` is the HTTP status; `said` the server's own words; `reason` its StatusReason."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.reason = status, ""
        self.details: dict[str, Any] = {}
        self.said = body.decode("utf-8", "replace")[:500]
        try:
            value = json.loads(body)
        except ValueError:
            value = None
        if isinstance(value, dict):  # not every proxy answers as the API server does
            self.said, self.reason = str(value.get("message", self.said)), str(value.get("reason", ""))
            self.details = found if isinstance(found := value.get("details"), dict) else {}
        super().__init__(f"{status} {self.reason}: {self.said}")


def may_pass(error: Exception) -> bool:
    """Throttling, faults of the server, and connections that broke or did not come about."""
    import urllib3

    if isinstance(error, Answered):
        return error.status in PASSING and "disruption budget" not in error.said
    return isinstance(error, urllib3.exceptions.HTTPError | OSError)


def as_ours(error: Exception, asked: str) -> PenstockError:
    """What `asked` (such as "POST /apis/batch/v1/…") failed by."""
    if not isinstance(error, Answered):
        return PlatformAway(f"the cluster does not answer ({asked}): {error}", remedy="Check `kubectl cluster-info`; it is asked again.")
    if error.status == 401:
        return PlatformDenied(
            f"the cluster does not know who asks ({asked}): {error.said}",
            remedy="Sign in again as kubectl does (`kubectl auth whoami` shows who you are); what runs goes on.",
        )
    if error.status == 403 and "exceeded quota" in error.said:
        return PlatformFull(error.said, remedy="Raise the ResourceQuota of the namespace, or wait until something ends.")
    if error.status == 403:
        return PlatformDenied(error.said, remedy="Grant it: `penstock install kubernetes --dry-run` prints the Role that is enough.")
    if error.status == 404 and error.details.get("kind") == "namespaces":
        return BadInput(error.said, remedy=f"Make it (`kubectl create namespace {error.details.get('name')}`), or name another one.")
    if error.status in PASSING:
        return PlatformAway(f"{asked}: {error.status} {error.said}")
    return BadInput(
        f"the cluster refuses {asked}: {error.said}", remedy="The message is the cluster's own; correct the platform's settings."
    )
