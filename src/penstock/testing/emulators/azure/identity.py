"""Who asks: tokens as an app's managed identity gets them (IDENTITY_ENDPOINT), and what is said of those that are unknown or too old."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.azure.errors import ArmError

ARM, ML, MONITOR = "https://management.azure.com", "https://ml.azure.com", "https://monitoring.azure.com"
LIFE_S, ENDPOINT_LIFE_S = 24 * 3600, 8 * 3600


def audience_of(endpoint: str) -> str:
    """Whom an endpoint's own tokens are for."""
    return f"endpoint {endpoint}"


@dataclass(slots=True)
class Identity:
    """`denied`: actions that whoever asks may not do, as "Microsoft.MachineLearningServices/workspaces/jobs/write"."""

    header: str = field(default_factory=lambda: secrets.token_hex(16))
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)  # token → whom it is for, until when
    denied: set[str] = field(default_factory=set)

    def token(self, query: Mapping[str, str], headers: Mapping[str, str], now: float) -> dict[str, Any]:
        """Source: App Service, "REST endpoint reference" of managed identities, 2019-08-01."""
        if headers.get("x-identity-header") != self.header or query.get("api-version") != "2019-08-01" or not query.get("resource"):
            raise ArmError(400, "invalid_request", "The identity endpoint needs X-IDENTITY-HEADER, api-version=2019-08-01 and resource.")
        made, ends = secrets.token_urlsafe(40), now + LIFE_S
        self.tokens[made] = (query["resource"].rstrip("/"), ends)
        return {"access_token": made, "expires_on": str(int(ends)), "resource": query["resource"], "token_type": "Bearer"}

    def endpoint_token(self, endpoint: str, now: float) -> dict[str, Any]:
        """Source: EndpointAuthToken of the REST reference; times in seconds since the epoch."""
        made, ends = secrets.token_urlsafe(40), now + ENDPOINT_LIFE_S
        self.tokens[made] = (audience_of(endpoint), ends)
        when = {"expiryTimeUtc": int(ends), "refreshAfterTimeUtc": int(now + ENDPOINT_LIFE_S / 2)}
        return {"accessToken": made, "tokenType": "Bearer", **when}

    def check(self, headers: Mapping[str, str], audiences: tuple[str, ...], action: str, now: float) -> None:
        """Raises ArmError 401 or 403."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or token not in self.tokens:
            raise _unknown("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing or invalid.")
        audience, ends = self.tokens[token]
        if ends <= now:
            raise _unknown("ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time.")
        if audience not in audiences:
            raise _unknown("InvalidAuthenticationTokenAudience", f"The access token has been obtained for wrong audience '{audience}'.")
        if action in self.denied:
            raise ArmError(
                403,
                "AuthorizationFailed",
                f"The client 'penstock' does not have authorization to perform action '{action}' over the scope of the workspace.",
            )

    def expire(self) -> None:
        self.tokens = {token: (audience, 0.0) for token, (audience, _) in self.tokens.items()}


def _unknown(code: str, message: str) -> ArmError:
    return ArmError(401, code, message, {"www-authenticate": 'Bearer error="invalid_token"'})
