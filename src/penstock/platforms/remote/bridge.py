"""The engine of a bridge: requests go as they came to a version that a vendor serves, and its answer comes back.

Not covered: `generate` for anything but the one question before the bridge is ready, whether the version answers that should.
"""

from __future__ import annotations

import functools
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import httpx

from penstock.core.errors import BadInput, EngineClosed, UpstreamRefused
from penstock.engines.contract import Chunk, EngineInfo, Request, Text
from penstock.engines.tally import Tally
from penstock.platforms.remote.container import HEALTH

CONNECT_S, CONNECTIONS = 5.0, 256
ANEW_S = 5.0  # a token that was refused is asked for anew no more often


class Vendor(Protocol):
    """How one version is reached."""

    name: str

    def send(self, path: str, body: Mapping[str, Any], stream: bool) -> AsyncGenerator[bytes]:
        """The bytes of the answer. Raises UpstreamRefused, with the status of the replica behind where it has one, before the first."""
        ...

    async def close(self) -> None: ...


AddressT = TypeVar("AddressT")


def address_in(settings: Mapping[str, Any], kind: type[AddressT], what: str) -> AddressT:
    """The address of `what` (for people) among a bridge's settings. Raises BadInput when there is none."""
    try:
        return kind(**settings["address"])
    except (KeyError, TypeError) as error:
        raise BadInput(f"{settings!r} have no address of {what}: {error}") from error


@functools.cache
def trusted() -> ssl.SSLContext:
    """Who is believed over TLS: read once for all bridges of a process."""
    return httpx.create_ssl_context(trust_env=False)


class Connections:
    """To one vendor over HTTP, made when first asked for: then inside the loop that uses them."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._client: httpx.AsyncClient | None = None

    def http(self) -> httpx.AsyncClient:
        if self._client is None:
            limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
            timeout = httpx.Timeout(self._longest_s, connect=CONNECT_S)
            self._client = httpx.AsyncClient(limits=limits, trust_env=False, timeout=timeout, verify=trusted())
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


class Bridge:
    """`digest`: of the bundle that must answer; another one is refused."""

    adapters_behind = True  # names of adapters go through: which ones there are is known behind

    def __init__(self, vendor: Vendor, digest: str, settings: Mapping[str, Any]) -> None:
        self._vendor, self._digest = vendor, digest
        self.info = EngineInfo(vendor.name, "text-generation", digest, "none", 1 << 20, (), settings)
        self._tally = Tally("requests", "cancelled", "refused", "lost", "busy_s")
        self._running, self._up, self._closed = 0, 1.0, False

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:  # noqa: ARG002 (the one question needs none)
        """Asks for the health of the version behind. Raises UpstreamRefused when another bundle answers."""
        async with aclosing(self._vendor.send(HEALTH, {}, False)) as pieces:
            told = json.loads(b"".join([piece async for piece in pieces]))
        if self._digest and told.get("digest") != self._digest:
            raise UpstreamRefused(f"bundle {told.get('digest')} answers at {self._vendor.name}, and {self._digest} should")
        yield Text("", "stop", 0, 0)

    async def forward(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes]:
        """The bytes of the answer, as Forwarding of engines/contract.py says."""
        if self._closed:
            raise EngineClosed("the bridge is closed")
        self._tally.add(requests=1)
        self._running += 1
        begun, whole = time.perf_counter(), False
        try:
            async with aclosing(self._vendor.send(path, body, body.get("stream") is True)) as pieces:
                async for piece in pieces:
                    yield piece
            whole, self._up = True, 1.0
        except UpstreamRefused as error:
            whole, lost = True, error.status >= 500
            self._up = 0.0 if lost else 1.0
            self._tally.add(refused=0 if lost else 1, lost=1 if lost else 0)
            raise
        finally:
            self._running -= 1
            self._tally.add(busy_s=time.perf_counter() - begun, cancelled=0 if whole else 1)

    def metrics(self) -> Mapping[str, float]:
        return {**self._tally.read(), "running": float(self._running), "waiting": 0.0, "upstream_up": self._up}

    async def close(self) -> None:
        self._closed = True
        await self._vendor.close()
