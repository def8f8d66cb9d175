"""What a bridge to an asynchronous endpoint does: the body goes into S3, InvokeEndpointAsync puts it in line, the answer comes from S3.

Each request has names of its own, so asking again after an answer was lost puts the same answer in the same place, at worst twice. What was
put there is taken away when the client has its answer, or has gone. Objects are reached by signed URLs, so that nothing waits in a thread.
Source: SageMaker AI developer guide, "Asynchronous inference"; API reference of InvokeEndpointAsync.
Not covered: streams, which have no place in a line. A failure's text has no documented form: what is known of it is read, else it is a 502.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from penstock.core.errors import UpstreamRefused
from penstock.engines.upstream_server import told
from penstock.platforms.remote.bridge import CONNECT_S, Bridge, Connections, address_in
from penstock.platforms.remote.container import HEALTH
from penstock.platforms.sagemaker.capturing import own_id
from penstock.platforms.sagemaker.invoking import Address, Signer, refusal, signer_for

ASK_S, FIRST_S, SLOWEST_S, GRACE_S = 60.0, 0.1, 5.0, 60.0
TRIES = 4
_SAID = re.compile(r"error \((\d{3})\) from \S+ with message \"(.*)\"", re.DOTALL)
_LATE = re.compile(r"timed out|expired|timeout", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LinedAddress(Address):
    """Of an asynchronous endpoint. `place`: URL below which its objects lie; seconds that a request may be worked on and stand in line.

    `asleep`: no instance was up when the bridge was started, so none can say which bundle it serves.
    """

    place: str = ""
    timeout: int = 900
    wait: int = 21600
    asleep: bool = False


def opened(_: Path, settings: Mapping[str, Any]) -> Bridge:
    """The engine of a bridge. Raises BadInput when its settings hold no address."""
    address = address_in(settings, LinedAddress, "an asynchronous SageMaker endpoint")
    return Bridge(Line(address), address.digest, settings)


class Line:
    """The Vendor of remote/bridge.py."""

    name = "sagemaker"

    def __init__(self, address: LinedAddress) -> None:
        self._address = address
        self._objects: Objects | None = None
        self._connections = Connections(ASK_S)

    async def send(self, path: str, body: Mapping[str, Any], stream: bool) -> AsyncGenerator[bytes]:
        if stream:
            raise UpstreamRefused("requests stand in a line here, and no answer can be streamed: leave `stream` out", 400)
        if path == HEALTH and self._address.asleep:  # the name of its configuration says what it serves, and nobody is woken for a question
            yield json.dumps({"digest": self._address.digest}).encode()
            return
        signer = signer_for(self._address.region, self._address.url)
        objects = self._objects = self._objects or Objects(self._address, self._connections)
        name = f"p{secrets.token_hex(12)}"
        given, left = f"{self._address.place}/in/{name}.json", list[str]()
        left.append(given)
        try:
            await objects.put(given, json.dumps(body).encode())
            places = await self._put_in_line(signer, path, given, name)
            left += filter(None, places)
            yield await self._answer(objects, *places)
        except UpstreamRefused as error:
            if error.status == 401:  # credentials are looked for anew
                self._objects = None
                signer_for.cache_clear()
            raise
        finally:
            await asyncio.shield(objects.remove(left))

    async def close(self) -> None:
        await self._connections.close()

    async def _put_in_line(self, signer: Signer, path: str, given: str, name: str) -> tuple[str, str]:
        """Where the answer will be, and where the failure (empty: nobody knows). The same request may be put there several times."""
        address, url = self._address, f"{signer.url}/endpoints/{self._address.endpoint}/async-invocations"
        headers = {
            "x-amzn-sagemaker-content-type": "application/json",
            "x-amzn-sagemaker-custom-attributes": f"path={path}",
            "x-amzn-sagemaker-inference-id": own_id(address.mark),
            "x-amzn-sagemaker-inputlocation": given,
            "x-amzn-sagemaker-filename": f"{name}.out",
            "x-amzn-sagemaker-requestttlseconds": str(address.wait),
            "x-amzn-sagemaker-invocationtimeoutseconds": str(address.timeout),
        }
        for number in range(1, TRIES + 1):
            try:
                answer = await self._connections.http().post(url, headers=await signer.signed(url, b"", headers))
                if answer.status_code == 202:
                    said = answer.headers
                    return said.get("x-amzn-sagemaker-outputlocation", ""), said.get("x-amzn-sagemaker-failurelocation", "")
                kind = answer.headers.get("x-amzn-errortype", "").partition(":")[0]
                refused = refusal(kind, answer.status_code, answer.content, "Async")
            except httpx.HTTPError as error:
                refused = UpstreamRefused(f"{url} was lost: {error or type(error).__name__}", 502)
            if number == TRIES or (refused.status < 500 and refused.status != 429):
                raise refused
            await asyncio.sleep(random.uniform(0.0, FIRST_S * 4**number))
        raise AssertionError("unreachable")

    async def _answer(self, objects: Objects, output: str, failure: str) -> bytes:
        """Looks for either ever more seldom. Raises UpstreamRefused for a failure, and when the service's own time for both is over."""
        deadline, pause = time.monotonic() + self._address.wait + self._address.timeout + GRACE_S, FIRST_S
        while time.monotonic() < deadline:
            await asyncio.sleep(pause)
            pause = min(SLOWEST_S, pause * 1.3)
            if (found := await objects.get(output)) is not None:
                return found
            if failure and (found := await objects.get(failure)) is not None:
                raise failed(found)
        raise UpstreamRefused("SageMaker gave neither an answer nor a failure in the time that it has for both", 504)


def failed(text: bytes) -> UpstreamRefused:
    """What a failure object says: the replica's own status and words where it was the one that refused."""
    said = text.decode("utf-8", "replace")
    if (found := _SAID.search(said)) is not None:
        return UpstreamRefused(told(found[2].encode()), int(found[1]))
    return UpstreamRefused(f"SageMaker: {said[:300]}", 504 if _LATE.search(said) else 502)


class Objects:
    """Objects in S3 by their `s3://` URLs. What passes (throttling, 5xx, lost connections) is tried again."""

    def __init__(self, address: Address, connections: Connections) -> None:
        import botocore.session
        from botocore.config import Config

        session = botocore.session.get_session()
        self._client = session.create_client("s3", region_name=address.region, config=Config(signature_version="s3v4"))
        self._connections = connections

    async def put(self, url: str, body: bytes) -> None:
        await self._asked("put_object", "PUT", url, body)

    async def get(self, url: str) -> bytes | None:
        """None while it is not there."""
        answer = await self._asked("get_object", "GET", url)
        return answer.content if answer is not None else None

    async def remove(self, urls: Iterable[str]) -> None:
        """As far as it can be done now; what stays goes with the endpoint."""
        for url in urls:
            with suppress(UpstreamRefused):
                await self._asked("delete_object", "DELETE", url)

    async def _asked(self, operation: str, method: str, url: str, body: bytes = b"") -> httpx.Response | None:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        refused = UpstreamRefused(f"{url}: not asked", 502)
        for number in range(1, TRIES + 1):
            signed = self._client.generate_presigned_url(operation, {"Bucket": bucket, "Key": key}, ExpiresIn=600, HttpMethod=method)
            try:
                answer = await self._connections.http().request(
                    method, signed, content=body or None, timeout=httpx.Timeout(ASK_S, connect=CONNECT_S)
                )
            except httpx.HTTPError as error:
                refused = UpstreamRefused(f"{url} was lost: {error or type(error).__name__}", 502)
            else:
                if answer.status_code in (200, 204):
                    return answer
                if answer.status_code == 404 and b"NoSuchBucket" not in answer.content:
                    return None
                status = 401 if answer.status_code == 403 else 502 if answer.status_code >= 500 else 400
                refused = UpstreamRefused(f"S3 refused {method} {url}: {answer.text[:200]} (grant s3:{_right(operation)})", status)
                if status != 502:
                    raise refused
            await asyncio.sleep(random.uniform(0.0, FIRST_S * 4**number))
        raise refused


def _right(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))
