"""Where a server listens, and the bytes of a request to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from penstock.core.errors import BadInput


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. `base`: the path that stands before every route."""

    host: str
    port: int
    secure: bool
    base: str = ""

    @classmethod
    def of(cls, url: str) -> Address:
        """Raises BadInput for anything but http:// and https:// URLs."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(f"{url!r} is not an http:// or https:// address", remedy="Write it like http://127.0.0.1:8080.")
        secure = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if secure else 80), secure, parts.path.rstrip("/"))

    def request(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str = "POST") -> bytes:
        """The bytes of a request; a body is JSON. Raises BadInput for a header that holds a line break."""
        lines = [f"{method} {self.base}{path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        for name, value in (headers or {}).items():
            if any(c in "\r\n\0" or ord(c) > 255 for c in name + value):
                raise BadInput(f"the header {name!r} holds a character that no header may hold")
            lines.append(f"{name}: {value}")
        if body is not None:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")
