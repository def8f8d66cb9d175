"""What a bridge to Azure ML does: each request a POST to the endpoint's scoring address, for one deployment of it, with a token of Entra.

Limits are the service's: a body of 10 MB, an answer within 180 s; streams come through as they are.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from penstock.core.errors import PenstockError, UpstreamRefused
from penstock.engines.upstream_server import told
from penstock.platforms.azureml.arm import ARM_SCOPE, CONNECT_S, SCORING, credential
from penstock.platforms.remote.bridge import ANEW_S, Bridge, Connections, address_in
from penstock.platforms.remote.retrying import patiently

WHOLE_S = 185.0
EARLY_S = 300.0  # that a token is renewed before it ends


@dataclass(frozen=True, slots=True)
class Address:
    """`score`: the endpoint's scoring address. `digest`: of the bundle that the deployment serves. `token`: where the endpoint's own tokens
    come from; empty where it takes Entra's.
    """

    score: str
    deployment: str
    digest: str
    token: str = ""


def opened(_: Path, settings: Mapping[str, Any]) -> Bridge:
    """The engine of a bridge. Raises BadInput when its settings hold no address."""
    address = address_in(settings, Address, "an Azure ML deployment")
    return Bridge(Deployment(address), address.digest, settings)


class Deployment:
    """The Vendor of remote/bridge.py. Credentials are those of Azure's default chain, looked for anew after they were refused."""

    name = "azureml"

    def __init__(self, address: Address) -> None:
        self._address, self._token = address, token(address.token)
        self._connections = Connections(WHOLE_S)

    async def send(self, path: str, body: Mapping[str, Any], stream: bool) -> AsyncGenerator[bytes]:  # noqa: ARG002 (streams come as they are)
        headers = {
            "authorization": f"Bearer {await self._token.bearer()}",
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
                        self._token.forget()
                    raise refused
                async for piece in answer.aiter_bytes():
                    yield piece
        except httpx.HTTPError as error:
            raise UpstreamRefused(f"{url} was lost: {error or type(error).__name__}", 502) from error

    async def close(self) -> None:
        await self._connections.close()


class Token:
    """Of Azure's default chain, looked for anew after it was refused. `at`: where an endpoint gives its own for one of those."""

    def __init__(self, at: str) -> None:
        self._at = at
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
            found = self._credential.get_token(ARM_SCOPE if self._at else SCORING)
        except (AzureError, PenstockError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UpstreamRefused(f"there are no Azure credentials on this machine ({first}); sign in (`az login`)", 401) from error
        return self._own(str(found.token)) if self._at else (str(found.token), float(found.expires_on))

    def _own(self, signed: str) -> tuple[str, float]:
        """The endpoint's token, which Azure tells when to renew; asked for again where that may help."""
        try:
            return patiently(lambda: self._given(signed), _may_pass)
        except httpx.HTTPError as error:
            raise UpstreamRefused(f"{self._at} was lost: {error or type(error).__name__}", 502) from error

    def _given(self, signed: str) -> tuple[str, float]:
        answer = httpx.post(self._at, headers={"authorization": f"Bearer {signed}"}, timeout=CONNECT_S, trust_env=False)
        if answer.status_code == 200:
            body = answer.json()
            return str(body["accessToken"]), float(body["refreshAfterTimeUtc"]) + EARLY_S
        said = f"Azure gave no token of the endpoint: {told(answer.content)} ({answer.status_code})"
        if answer.status_code in (401, 403):
            self._credential = None
            raise UpstreamRefused(f"{said}; grant onlineEndpoints/token/action", 401)
        raise UpstreamRefused(said, 503 if answer.status_code == 429 or answer.status_code >= 500 else 502)


def _may_pass(error: Exception) -> bool:
    return isinstance(error, httpx.TransportError) or (isinstance(error, UpstreamRefused) and error.status == 503)


@cache
def token(at: str) -> Token:
    """One for all bridges of a process."""
    return Token(at)


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
    if status in (400, 422):
        return UpstreamRefused(said, status)  # the router of a Kubernetes cluster passes on what the replica answered
    if status == 429:
        return UpstreamRefused(f"Azure throttles: {said}", 429)
    return UpstreamRefused(f"Azure refused: {said} ({status})", status if status in (408, 413) or status >= 500 else 502)
