"""Who asks: request ids, and gateway keys known only by their SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import re
from collections.abc import Iterable, Mapping

from penstock.serving.errors import RequestRefused
from penstock.serving.snapshot import KeyEntry

_SANE = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_BOOT = os.urandom(6).hex()
_NUMBERS = itertools.count(1)


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """The client's `x-request-id` when it is short and plain, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _SANE.fullmatch(given):
        return given.decode()
    return f"req-{_BOOT}{next(_NUMBERS):08x}"


class Keyring:
    """Keys by digest. Hashing what was presented makes look-up by digest safe: who does not know a key cannot steer its hash."""

    def __init__(self, keys: Iterable[KeyEntry]) -> None:
        self._by_digest = {key.sha256: key for key in keys}

    def find(self, headers: Mapping[bytes, bytes]) -> KeyEntry:
        """The key of `Authorization: Bearer …`. Raises RequestRefused (401)."""
        scheme, _, secret = headers.get(b"authorization", b"").partition(b" ")
        if not secret or scheme.lower() != b"bearer":
            raise RequestRefused(401, "Give a key: `Authorization: Bearer psk-…` (made by `penstock keys create`)", "missing_api_key")
        digest = hashlib.sha256(secret.strip()).hexdigest()
        entry = self._by_digest.get(digest)
        if entry is None or not hmac.compare_digest(entry.sha256, digest):
            raise RequestRefused(401, "This key is unknown or revoked", "invalid_api_key")
        return entry
