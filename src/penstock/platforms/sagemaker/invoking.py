"""What a bridge to SageMaker does: each request an InvokeEndpoint of one variant, signed (SigV4), streams as event streams unpacked.

Limits are the service's: a body of 6 MiB, an answer within 60 s, a stream within 8 minutes.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from penstock.core.errors import UpstreamRefused
from penstock.engines.upstream_server import told
from penstock.platforms.remote.bridge import CONNECT_S, Bridge, Connections, address_in
from penstock.platforms.sagemaker.capturing import own_id
from penstock.platforms.sagemaker.errors import THROTTLED

WHOLE_S, STREAM_S = 65.0, 485.0


@dataclass(frozen=True, slots=True)
class Address:
    """Of one variant. `url`: another address of the service than the region's. `digest`: of the bundle it serves. `mark`: the project's."""

    endpoint: str
    variant: str
    region: str
    digest: str
    url: str | None = None
    mark: str = ""


def opened(_: Path, settings: Mapping[str, Any]) -> Bridge:
    """The engine of a bridge. Raises BadInput when its settings hold no address."""
    address = address_in(settings, Address, "a SageMaker variant")
    return Bridge(Variant(address), address.digest, settings)


class Variant:
    """The Vendor of remote/bridge.py. Credentials are AWS's own chain's, looked for anew after they were refused."""

    name = "sagemaker"

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connections = Connections(WHOLE_S)

    async def send(self, path: str, body: Mapping[str, Any], stream: bool) -> AsyncGenerator[bytes]:
        signer = signer_for(self._address.region, self._address.url)
        data, last = json.dumps(body).encode(), "invocations-response-stream" if stream else "invocations"
        url = f"{signer.url}/endpoints/{self._address.endpoint}/{last}"
        headers = await signer.signed(
            url,
            data,
            {
                "content-type": "application/json",
                "x-amzn-sagemaker-custom-attributes": f"path={path}",
                "x-amzn-sagemaker-target-variant": self._address.variant,
                "x-amzn-sagemaker-inference-id": own_id(self._address.mark),
            },
        )
        try:
            async with self._connections.http().stream("POST", url, content=data, headers=headers, timeout=_patience(stream)) as answer:
                if answer.status_code != 200:
                    raise self._refusal(answer, await answer.aread())
                async for piece in _payloads(answer) if stream else answer.aiter_bytes():
                    yield piece
        except httpx.HTTPError as error:
            raise UpstreamRefused(f"{url} was lost: {error or type(error).__name__}", 502) from error

    async def close(self) -> None:
        await self._connections.close()

    def _refusal(self, answer: httpx.Response, body: bytes) -> UpstreamRefused:
        kind = answer.headers.get("x-amzn-errortype", "").partition(":")[0]
        refused = refusal(kind, answer.status_code, body)
        if refused.status == 401:
            signer_for.cache_clear()
        return refused


def refusal(kind: str, status: int, body: bytes, more: str = "") -> UpstreamRefused:
    """`kind`: the service's name of the error; `more`: of the operation's name, behind InvokeEndpoint.

    The replica's own status and words where it was the one that refused.
    """
    try:
        value = json.loads(body)
    except ValueError:
        value = {}
    said = str(value.get("Message") or value.get("message") or body[:200].decode("utf-8", "replace"))
    if kind == "ModelError":
        inner = int(value.get("OriginalStatusCode") or 504)
        return UpstreamRefused(told(str(value.get("OriginalMessage", "")).encode()) if value.get("OriginalMessage") else said, inner)
    if kind in THROTTLED:
        return UpstreamRefused(f"SageMaker throttles: {said}", 429)
    if kind.startswith(("ExpiredToken", "UnrecognizedClient", "AccessDenied", "MissingAuthentication", "InvalidSignature")):
        return UpstreamRefused(f"AWS refused the bridge: {said} ({kind}); sign in again, or grant sagemaker:InvokeEndpoint{more}", 401)
    if "not found" in said or "not in service" in said or status == 503:
        return UpstreamRefused(f"the variant is not there: {said}", 503)
    return UpstreamRefused(
        f"SageMaker refused: {said} ({kind or status})", 413 if "larger than" in said else status if status >= 500 else 400
    )


class Signer:
    """Signs for one region; `url` is where the runtime is (AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME is respected)."""

    def __init__(self, region: str, url: str | None) -> None:
        import botocore.session
        from botocore.auth import SigV4Auth

        session = botocore.session.get_session()
        client = session.create_client("sagemaker-runtime", region_name=region, endpoint_url=url)
        self.url = str(client.meta.endpoint_url).rstrip("/")
        credentials = session.get_credentials()
        if credentials is None:
            raise UpstreamRefused("there are no AWS credentials on this machine; sign in (`aws sso login`)", 401)
        self._credentials, self._auth, self._region = credentials, SigV4Auth, region

    async def signed(self, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        from botocore.awsrequest import AWSRequest

        ends = getattr(self._credentials, "refresh_needed", None)
        if ends is not None and ends():  # asks AWS: not in the loop that all bridges share
            await asyncio.to_thread(self._credentials.get_frozen_credentials)
        request = AWSRequest(method="POST", url=url, data=body, headers=dict(headers))
        self._auth(self._credentials.get_frozen_credentials(), "sagemaker", self._region).add_auth(request)
        return dict(request.headers.items())


@functools.cache
def signer_for(region: str, url: str | None) -> Signer:
    """One for all bridges of a process, so that credentials are looked for once."""
    return Signer(region, url)


async def _payloads(answer: httpx.Response) -> AsyncGenerator[bytes]:
    """The bytes inside an event stream. Raises UpstreamRefused for an exception in it."""
    from botocore.eventstream import EventStreamBuffer

    buffer = EventStreamBuffer()
    async for piece in answer.aiter_raw():
        buffer.add_data(piece)
        for event in buffer:
            if event.headers.get(":message-type") != "event":
                raise refusal(str(event.headers.get(":exception-type", "InternalStreamFailure")), 502, event.payload)
            yield event.payload


def _patience(stream: bool) -> httpx.Timeout:
    return httpx.Timeout(STREAM_S if stream else WHOLE_S, connect=CONNECT_S)
