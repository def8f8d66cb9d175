"""What a bridge to Vertex AI does: each request goes to its own path at one deployed model of a dedicated endpoint (`…/invoke/**`).

The answer comes back as the replica gave it, streams too. Source: REST reference of `projects.locations.endpoints.deployedModels.invoke`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import httpx

from penstock.core.errors import UpstreamRefused
from penstock.engines.upstream_server import told
from penstock.platforms.remote.bridge import ANEW_S, Bridge, Connections, address_in
from penstock.platforms.vertex.addresses import Address
from penstock.platforms.vertex.google import fresh

LONGEST_S = 605.0


def opened(_: Path, settings: Mapping[str, Any]) -> Bridge:
    """The engine of a bridge. Raises BadInput when its settings hold no address."""
    address = address_in(settings, Address, "a deployed model")
    return Bridge(DeployedModel(address), address.digest, settings)


class DeployedModel:
    """The Vendor of remote/bridge.py. Credentials are Google's own chain's, looked for anew after they were refused."""

    name = "vertex"

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connections = Connections(LONGEST_S)

    async def send(self, path: str, body: Mapping[str, Any], stream: bool) -> AsyncGenerator[bytes]:  # noqa: ARG002 (both come alike)
        url, headers = self._address.url(path), {"content-type": "application/json", "authorization": await TOKEN.bearer()}
        try:
            async with self._connections.http().stream("POST", url, content=json.dumps(body).encode(), headers=headers) as answer:
                if answer.status_code != 200:
                    raise self._refusal(answer.status_code, await answer.aread())
                async for piece in answer.aiter_bytes():
                    yield piece
        except httpx.HTTPError as error:
            raise UpstreamRefused(f"{url} was lost: {error or type(error).__name__}", 502) from error

    async def close(self) -> None:
        await self._connections.close()

    def _refusal(self, status: int, body: bytes) -> UpstreamRefused:
        refused = refusal(status, body)
        if refused.status == 401:
            TOKEN.forget()
        return refused


def refusal(status: int, body: bytes) -> UpstreamRefused:
    """The replica's own status and words where it was the one that refused. What Google itself refuses names a google.rpc.Code."""
    try:
        error = json.loads(body)["error"]
        code, said = str(error["status"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return UpstreamRefused(told(body), status)
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        way = "sign in again (`gcloud auth application-default login`), or grant aiplatform.endpoints.predict"
        return UpstreamRefused(f"Google refused the bridge: {said} ({code}); {way}", 401)
    if code == "RESOURCE_EXHAUSTED":
        return UpstreamRefused(f"Vertex AI throttles: {said}", 429)
    return UpstreamRefused(f"the deployed model is not there: {said} ({code})", 503 if status in (400, 404) else status)


class Token:
    """An access token, kept until shortly before it ends."""

    def __init__(self) -> None:
        self._credentials: Any = None
        self._asked_at = 0.0
        self._lock = asyncio.Lock()

    async def bearer(self) -> str:
        """Raises UpstreamRefused (401) where nobody is signed in."""
        async with self._lock:
            if self._credentials is None or not self._credentials.valid:
                self._credentials, self._asked_at = await asyncio.to_thread(fresh, self._credentials), time.monotonic()
            return f"Bearer {self._credentials.token}"

    def forget(self) -> None:
        """It was refused. One that is new stays: it may have been refused for what was asked."""
        if time.monotonic() - self._asked_at > ANEW_S:
            self._credentials = None


TOKEN = Token()  # one for all bridges of a process
