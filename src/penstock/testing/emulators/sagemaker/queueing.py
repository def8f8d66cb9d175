"""Asynchronous endpoints: requests stand in a line, an instance gets so many at once, answers and failures become objects in S3.

Source: SageMaker AI developer guide, "Asynchronous inference"; API reference of InvokeEndpointAsync (names and limits by botocore's model).
A request's body is read when its turn comes. What a failure object holds is documented nowhere: here the words of a ModelError. Without a
name of its own, an answer is called by the inference's id.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from penstock.testing.emulators.sagemaker import shapes
from penstock.testing.emulators.sagemaker.account import Account
from penstock.testing.emulators.sagemaker.endpoints import Endpoint, settle
from penstock.testing.emulators.sagemaker.errors import AwsError
from penstock.testing.emulators.sagemaker.fleet import Instance
from penstock.testing.emulators.sagemaker.models import CONFIG, ENDPOINT

LOOK_S = 0.02
AT_ONCE, TTL_S, TIMEOUT_S = 4, 21600, 900  # of the service, where nobody says; how many at once it chooses itself
MAX_INPUT = 1 << 30
_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"


@dataclass(slots=True)
class Queued:
    """`expires`: by the account's clock. Places are `s3://` URLs."""

    id: str
    endpoint: Endpoint
    body: bytes | None
    given: str
    headers: Mapping[str, str]
    expires: float
    timeout_s: float
    output: str
    failure: str


@dataclass(slots=True)
class Lines:
    """By endpoint its line, and how many requests each container is at."""

    waiting: dict[str, list[Queued]] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)


def invoke_async(account: Account, name: str, headers: Mapping[str, str], body: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """(headers, body) of the answer. Raises AwsError."""
    told = _request(name, headers, body)
    if ("InputLocation" in told) == ("Body" in told):
        raise AwsError("ValidationError", "Provide exactly one of Body and InputLocation.")
    with account.lock:
        endpoint: Endpoint | None = account.of(ENDPOINT).get(name)
        if endpoint is not None:
            settle(account, endpoint)
        if endpoint is None or endpoint.status == "Deleting":
            raise AwsError("ValidationError", f"Endpoint {name} of account 123456789012 not found.")
        wanted = config_of(account, endpoint)
        if wanted is None:
            raise AwsError("ValidationError", f"Endpoint {name} of account 123456789012 is not an asynchronous endpoint.")
        if not endpoint.variants:
            raise AwsError("ValidationError", f"Endpoint {name} of account 123456789012 is not in service.")
        ident, out = told.get("InferenceId") or str(uuid4()), wanted["OutputConfig"]
        parts = (out["S3OutputPath"].rstrip("/"), told.get("S3OutputPathExtension", "").strip("/"), told.get("Filename", f"{ident}.out"))
        output, failure = "/".join(filter(None, parts)), ""
        if "S3FailurePath" in out:
            failure = f"{out['S3FailurePath'].rstrip('/')}/{uuid4()}-error.out"
        sent = {"content-type": told.get("ContentType", "application/octet-stream"), _ATTRIBUTES: told.get("CustomAttributes", "")}
        sent |= {"accept": told["Accept"]} if "Accept" in told else {}
        expires = account.clock() + told.get("RequestTTLSeconds", TTL_S)
        timeout_s = float(told.get("InvocationTimeoutSeconds", TIMEOUT_S))
        one = Queued(ident, endpoint, told.get("Body"), told.get("InputLocation", ""), sent, expires, timeout_s, output, failure)
        _lines(account).waiting.setdefault(name, []).append(one)
    threading.Thread(target=_see_through, args=(account, one), daemon=True).start()
    given = {"x-amzn-sagemaker-outputlocation": output, **({"x-amzn-sagemaker-failurelocation": failure} if failure else {})}
    return given, {"InferenceId": ident}


def config_of(account: Account, endpoint: Endpoint) -> Mapping[str, Any] | None:
    """The AsyncInferenceConfig of an endpoint that has one."""
    made = account.of(CONFIG).get(endpoint.config)
    found: Mapping[str, Any] | None = made.request.get("AsyncInferenceConfig") if made is not None else None
    return found


def backlog(account: Account, name: str) -> int:
    """Requests that stand in line, as ApproximateBacklogSize counts them."""
    with account.lock:
        return len(_lines(account).waiting.get(name, ()))


def _lines(account: Account) -> Lines:
    made: Lines = account.of("asynchronous lines").setdefault("all", Lines())
    return made


def _request(name: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The operation's input out of its headers, held to botocore's model. Raises AwsError."""
    shape = shapes.model("sagemaker-runtime").operation_model("InvokeEndpointAsync").input_shape
    told: dict[str, Any] = {"EndpointName": name, **({"Body": body} if body else {})}
    for member, kind in shape.members.items():
        value = headers.get(kind.serialization.get("name", "").lower()) if kind.serialization.get("location") == "header" else None
        if value is not None:
            told[member] = int(value) if kind.type_name == "integer" and re.fullmatch(r"\d+", value) else value
    if wrong := shapes.told(told, shape):
        raise AwsError("ValidationError", wrong)
    return told


def _see_through(account: Account, one: Queued) -> None:
    """From the line to an object. An endpoint that goes takes its line along."""
    while (instance := _turn(account, one)) is None:
        if not _stands(account, one):
            return
        if account.clock() >= one.expires:
            _leave(account, one)
            _write(account, one.failure, b"Request expired: it stood in line for longer than RequestTTLSeconds.")
            return
        time.sleep(LOOK_S)
    try:
        place, found = _asked(account, one, instance)
    finally:
        with account.lock:
            _lines(account).busy[instance.container] = _lines(account).busy.get(instance.container, 1) - 1
    if _stands(account, one, at_work=True):
        _write(account, place, found)


def _turn(account: Account, one: Queued) -> Instance | None:
    """The instance that is to answer, once this one is first in line and one has room."""
    with account.lock:
        if not _stands(account, one) or _lines(account).waiting[one.endpoint.name][0] is not one:
            return None
        settle(account, one.endpoint)
        most = (config_of(account, one.endpoint) or {}).get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance", AT_ONCE)
        busy = _lines(account).busy
        for variant in one.endpoint.variants.values():
            for instance in sorted(variant.ready, key=lambda each: busy.get(each.container, 0)):
                if busy.get(instance.container, 0) < most:
                    busy[instance.container] = busy.get(instance.container, 0) + 1
                    _leave(account, one)
                    return instance
    return None


def _stands(account: Account, one: Queued, *, at_work: bool = False) -> bool:
    with account.lock:
        there = account.of(ENDPOINT).get(one.endpoint.name) is one.endpoint and one.endpoint.status != "Deleting"
        return there and (at_work or one in _lines(account).waiting.get(one.endpoint.name, ()))


def _leave(account: Account, one: Queued) -> None:
    with account.lock:
        line = _lines(account).waiting.get(one.endpoint.name, [])
        if one in line:
            line.remove(one)


def _asked(account: Account, one: Queued, instance: Instance) -> tuple[str, bytes]:
    """Where something is to be written, and what."""
    body = one.body if one.body is not None else _read(account, one.given)
    if body is None:
        return one.failure, f"Unable to download the input from {one.given}.".encode()
    if len(body) > MAX_INPUT:
        return one.failure, f"The input at {one.given} is larger than {MAX_INPUT} bytes.".encode()
    connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=one.timeout_s)
    try:
        connection.request("POST", "/invocations", body, dict(one.headers))
        answer = connection.getresponse()
        said = answer.read()
    except TimeoutError:
        return one.failure, b"Your invocation timed out while waiting for a response from container primary."
    except (OSError, http.client.HTTPException) as error:
        return one.failure, f'Received server error (500) from primary with message "{error}".'.encode()
    finally:
        connection.close()
    if answer.status == 200:
        return one.output, said
    kind = "client" if 400 <= answer.status < 500 else "server"
    return one.failure, f'Received {kind} error ({answer.status}) from primary with message "{said.decode("utf-8", "replace")}"'.encode()


def _read(account: Account, url: str) -> bytes | None:
    client, (bucket, _, key) = account.client("s3"), url.removeprefix("s3://").partition("/")
    try:
        found: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    except client.exceptions.ClientError:
        return None
    return found


def _write(account: Account, url: str, body: bytes) -> None:
    if url:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        account.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
