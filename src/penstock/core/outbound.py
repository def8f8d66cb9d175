"""Requests to addresses that people wrote into files: only to where this installation may speak, never following a redirect.

PENSTOCK_OUTBOUND lists the hosts (`hooks.slack.com, *.example.org, 10.0.0.7:9093`); without it any host may be asked, except link-local
addresses, where clouds keep the machine's credentials. Not covered: a name whose address changes between the check and the request.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from penstock.core.errors import OutboundRefused

ALLOWED = "PENSTOCK_OUTBOUND"
MOST_BYTES = 64 * 1024
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Answer:
    """`body`: its first MOST_BYTES. Header names are in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def check_url(url: str, environ: Mapping[str, str] | None = None) -> SplitResult:
    """The parts of an http or https URL that may be asked. Raises OutboundRefused, which names the host and never the rest."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OutboundRefused(f"an address cannot be read: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise OutboundRefused(f"an address must begin with http:// or https:// and a host, not {parts.scheme or 'nothing'}://")
    check_host(parts.hostname, port or _PORTS[parts.scheme], environ)
    return parts


def check_host(host: str, port: int, environ: Mapping[str, str] | None = None) -> None:
    """Raises OutboundRefused for a host that is not on the list, or that is link-local and not named there."""
    listed = (os.environ if environ is None else environ).get(ALLOWED, "").replace(",", " ").split()
    named = host.lower().rstrip(".")
    if any(fnmatch.fnmatchcase(named, entry.lower()) or fnmatch.fnmatchcase(f"{named}:{port}", entry.lower()) for entry in listed):
        return
    if listed:
        raise OutboundRefused(f"{named}:{port} is not among the hosts that {ALLOWED} allows ({', '.join(listed)})")
    if any(_link_local(address) for address in _addresses(named, port)):
        raise OutboundRefused(
            f"{named} is a link-local address, where clouds keep credentials", remedy=f"Name it in {ALLOWED} if you mean it."
        )


def ask(method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout_s: float = 10.0) -> Answer:
    """One request; any status is an answer, a redirect too. Raises OutboundRefused, and OSError without the URL in its text."""
    check_url(url)
    request = urllib.request.Request(url, data=body, headers={"user-agent": "penstock", **(headers or {})}, method=method)
    try:
        with urllib.request.build_opener(_AsItIs).open(request, timeout=timeout_s) as found:
            return Answer(found.status, found.read(MOST_BYTES), {name.lower(): value for name, value in found.headers.items()})
    except urllib.error.URLError as error:
        reason = error.reason
        raise (reason if isinstance(reason, OSError) else OSError(str(reason))) from None
    except ValueError as error:  # a header or path with characters that HTTP does not have
        raise OSError(f"the request cannot be written ({type(error).__name__})") from None


class _AsItIs(urllib.request.HTTPErrorProcessor):
    """No status is an error here, and a redirect is an answer like any other."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:  # noqa: ARG002  the base class names it
        return response

    https_response = http_response


def _addresses(host: str, port: int) -> list[str]:
    """Where a name leads; nothing for one that leads nowhere, which the request itself will tell."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except OSError:
        return []


def _link_local(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_link_local
