"""What a bridge to Azure ML does: each request a POST to the endpoint's scoring address, for one deployment of it, with a token of Entra.

Limits are the service's: a body of 10 MB, an answer within 180 s; streams come through as they are.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from penstock.core.errors import PenstockError, UpstreamRefused
from penstock.engines.upstream_server import told
from penstock.platforms.azureml.arm import SCORING, credential
from penstock.platforms.remote.bridge import ANEW_S, Bridge, Connections, address_in

WHOLE_S = 185.0
EARLY_S = 300.0  # that a token is renewed before it ends


@dataclass(frozen=True, slots=True)
class Address:
    """`score`: the endpoint's scoring address. `digest`: of the bundle that the deployment serves."""

    score: str
    deployment: str
    digest: str


def opened(_: Path, settings: Mapping[str, Any]) -> Bridge:
    """The engine of a bridge. Raises BadInput when its settings hold no address."""
    address = address_in(settings, Address, "an Azure ML deployment")
    return Bridge(Deployment(address), address.digest, settings)


class Deployment:
    """The Vendor of remote/bridge.py. Credentials are those of Azure's default chain, looked for anew after they were refused."""

    name = "azureml"

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connections = Connections(WHOLE_S)

    async def send(self, path: str, body: Mapping[str, Any], stream: bool) -> AsyncGenerator[bytes]:  # noqa: ARG002 (streams come as they are)
        headers = {
            "authorization": f"Bearer {await TOKEN.bearer()}",
            "content-type": "application/json",
            "azureml-model-deployment": self._address.deployment,
            "x-penstock-path": path,
        }
        url = self._address.score
        try:
            async with self._connections.http().stream("POST", url, content=json.dumps(body).encode(), headers=headers) as answer:
                if answer.status_code != 200:
                    refused = refusal(answer.status_code, answer.headers, await answer.aread())
                    if refused.status == 401:
                        TOKEN.forget()
                    raise refused
                async for piece in answer.aiter_bytes():
                    yield piece
        except httpx.HTTPError as error:
            raise UpstreamRefused(f"{url} was lost: {error or type(error).__name__}", 502) from error

    async def close(self) -> None:
        await self._connections.close()


class Token:
    """Of Azure's default chain, looked for anew after it was refused."""

    def __init__(self) -> None:
        self._credential: Any = None
        self._token: tuple[str, float] = ("", 0.0)
        self._asked_at = 0.0
        self._renewing = asyncio.Lock()

    async def bearer(self) -> str:
        """A token that is good for a while; asked for in a thread, by one request for all."""
        if time.time() > self._token[1] - EARLY_S:
            async with self._renewing:
                if time.time() > self._token[1] - EARLY_S:
                    self._token, self._asked_at = await asyncio.to_thread(self._asked), time.monotonic()
        return self._token[0]

    def forget(self) -> None:
        """It was refused. One that is new stays: it may have been refused for what was asked."""
        if time.monotonic() - self._asked_at > ANEW_S:
            self._credential, self._token = None, ("", 0.0)

    def _asked(self) -> tuple[str, float]:
        from azure.core.exceptions import AzureError

        try:
            if self._credential is None:
                self._credential = credential()
            found = self._credential.get_token(SCORING)
        except (AzureError, PenstockError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UpstreamRefused(f"there are no Azure credentials on this machine ({first}); sign in (`az login`)", 401) from error
        return str(found.token), float(found.expires_on)


TOKEN = Token()  # one for all bridges of a process


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamRefused:
    """The replica's own status and words where it was the one that refused (424)."""
    own = headers.get("ms-azureml-model-error-statuscode", "")
    if status == 424 and own.isdigit():
        return UpstreamRefused(told(body), int(own))
    said = told(body)
    if status in (401, 403):
        return UpstreamRefused(
            f"Azure refused the bridge: {said} ({status}); sign in again, or grant onlineEndpoints/score/action on the endpoint", 401
        )
    if status == 404 or status == 503:
        return UpstreamRefused(f"the deployment is not there: {said}", 503)
    if status == 429:
        return UpstreamRefused(f"Azure throttles: {said}", 429)
    return UpstreamRefused(f"Azure refused: {said} ({status})", status if status in (408, 413) or status >= 500 else 502)
