"""Who asks: a service account's signed assertion is exchanged for a token (RFC 7523), and every call brings one."""

from __future__ import annotations

import base64
import json
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from penstock.testing.emulators.vertex.errors import VertexError, info

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SKEW_S = 300.0


@dataclass(slots=True)
class Identities:
    """`keys`: public key by e-mail. `denied`: methods that no role allows. `disabled`: the API is not switched on in the project."""

    keys: dict[str, Any] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    disabled: bool = False

    def new_key(self, email: str, token_uri: str, path: Path) -> None:
        """Writes a key file as the console gives it out."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.keys[email] = key.public_key()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
        value = {
            "type": "service_account",
            "project_id": email.partition("@")[2].partition(".")[0],
            "private_key_id": secrets.token_hex(20),
            "private_key": pem,
            "client_email": email,
            "client_id": "1",
            "token_uri": token_uri,
        }
        path.write_text(json.dumps(value))

    def exchange(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """The token endpoint: (status, answer)."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import padding
        from cryptography.hazmat.primitives.hashes import SHA256

        form = parse_qs(body.decode())
        if form.get("grant_type") != [GRANT]:
            return 400, {"error": "unsupported_grant_type", "error_description": "Invalid grant_type"}
        head, payload, signature = form["assertion"][0].split(".")
        claims = json.loads(_decoded(payload))
        key = self.keys.get(claims["iss"])
        if key is None:
            return 400, {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}
        try:
            key.verify(_decoded(signature), f"{head}.{payload}".encode(), padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        if not claims["iat"] - SKEW_S <= time.time() <= claims["exp"]:
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT: Token must be a short-lived token"}
        token = f"ya29.{secrets.token_hex(24)}"
        self.tokens.add(token)
        return 200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}

    def check(self, authorization: str, permission: str, resource: str) -> None:
        """Raises VertexError (UNAUTHENTICATED, PERMISSION_DENIED). `permission`: such as "CreateCustomJob"."""
        kind, _, token = authorization.partition(" ")
        if kind != "Bearer" or token not in self.tokens:
            raise VertexError(
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication "
                "credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
                info("ACCESS_TOKEN_EXPIRED"),
            )
        if self.disabled:
            raise VertexError(
                "PERMISSION_DENIED",
                "Vertex AI API has not been used in project before or it is disabled. Enable it by visiting the console then retry.",
                info("SERVICE_DISABLED", service="aiplatform.googleapis.com"),
            )
        if permission in self.denied:
            name = f"aiplatform.{permission}"
            raise VertexError(
                "PERMISSION_DENIED",
                f"Permission '{name}' denied on resource '//aiplatform.googleapis.com/{resource}' (or it may not exist).",
                info("IAM_PERMISSION_DENIED", permission=name),
            )


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
