"""Who asks: every request's signature (SigV4) computed again with the secret that the key stands for."""

from __future__ import annotations

import datetime
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.testing.emulators.sagemaker.errors import AwsError

_SCHEME = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)
SKEW_S = 300.0


@dataclass(slots=True)
class Identities:
    """`secrets`: by access key. `expired`: keys of sessions that ended. `denied`: actions that no policy allows."""

    secrets: dict[str, str] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)

    def check(self, method: str, url: str, headers: Mapping[str, str], body: bytes, region: str, what: tuple[str, str]) -> None:
        """Raises AwsError as the service would. `headers`: names in lower case. `what`: service as it is signed for, action."""
        wanted, action = what
        found = _SCHEME.fullmatch(headers.get("authorization", ""))
        if found is None:
            raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
        key, _, at, service, signed, signature = found.groups()
        if key not in self.secrets:
            raise AwsError("UnrecognizedClientException", "The security token included in the request is invalid.")
        if key in self.expired:
            raise AwsError("ExpiredTokenException", "The security token included in the request is expired")
        _check_time(headers.get("x-amz-date", ""))
        kept = {name: headers.get(name, "") for name in signed.split(";")}
        expected = _signature(method, url, kept, body, headers["x-amz-date"], (key, self.secrets[key], region, service))
        if at != region or service != wanted or not hmac.compare_digest(expected, signature):
            raise AwsError(
                "InvalidSignatureException", "The request signature we calculated does not match the signature you provided.", 403
            )
        if action in self.denied:
            raise AwsError(
                "AccessDeniedException",
                f"User: arn:aws:iam::123456789012:user/penstock is not authorized to perform: {wanted}:{action} "
                f"because no identity-based policy allows the {wanted}:{action} action",
            )


def _check_time(stamp: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    try:
        at = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError:
        raise AwsError("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'.", 403) from None
    if abs((now - at).total_seconds()) > SKEW_S:
        raise AwsError("InvalidSignatureException", f"Signature expired: {stamp} is now more than 5 min. off", 403)


def _signature(method: str, url: str, headers: Mapping[str, str], body: bytes, stamp: str, who: tuple[str, str, str, str]) -> str:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    key, secret, region, service = who
    auth = SigV4Auth(Credentials(key, secret), service, region)
    request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
    request.context["timestamp"] = stamp
    signed: str = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return signed
