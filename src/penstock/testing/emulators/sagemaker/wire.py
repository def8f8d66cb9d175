"""The two protocols of the service over HTTP: JSON 1.1 (`X-Amz-Target: SageMaker.Operation`), and REST for invocations; and those that
start its jobs (beside.py).
"""

from __future__ import annotations

import datetime
import json
import re
import time
from typing import Any
from uuid import uuid4

from penstock.testing.emulators.http import Asked, Reply
from penstock.testing.emulators.sagemaker import beside, shapes
from penstock.testing.emulators.sagemaker.account import Account, check_tags
from penstock.testing.emulators.sagemaker.errors import AwsError, invalid, not_found
from penstock.testing.emulators.sagemaker.events import KIND
from penstock.testing.emulators.sagemaker.invoking import Invocation, invoke
from penstock.testing.emulators.sagemaker.operations import OPERATIONS
from penstock.testing.emulators.sagemaker.queueing import invoke_async

_INVOKE = re.compile(r"/endpoints/([^/]+)/(invocations|invocations-response-stream|async-invocations)")
_RUNTIME = {
    "invocations": "InvokeEndpoint",
    "invocations-response-stream": "InvokeEndpointWithResponseStream",
    "async-invocations": "InvokeEndpointAsync",
}


def answer(account: Account, asked: Asked) -> Reply:
    """What the service would say, faults that were planned included."""
    reply = _answer(account, asked)
    reply.headers = {**reply.headers, "x-amzn-requestid": str(uuid4())}
    return reply


def _answer(account: Account, asked: Asked) -> Reply:
    call = None
    try:
        call = beside.call_of(asked)
        operation = call.operation if call else _operation(asked)
        fault = account.faults.next(operation)
        if fault is not None and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault is not None and fault.kind == "lose_request":
            return Reply(0, cut=True)
        if fault is not None and fault.kind == "throttle":
            raise AwsError("ThrottlingException", "Rate exceeded")
        if fault is not None and fault.kind == "internal":
            raise AwsError("InternalFailure", "The request processing has failed because of an unknown error, exception or failure.", 500)
        if fault is not None and fault.kind == "unseen":
            raise not_found("it")
        url = f"http://{asked.headers.get('host', '')}{asked.target}"
        signed = beside.SIGNED_FOR[call.service] if call else "sagemaker"
        account.identities.check(asked.method, url, asked.headers, asked.body, account.region, (signed, operation))
        if call is not None:
            reply = beside.answer(account, asked, call)
            return Reply(0, cut=True) if fault is not None and fault.kind == "lose_answer" else reply
        reply = _runtime(account, asked, operation) if asked.target.startswith("/endpoints/") else _control(account, asked, operation)
        return Reply(0, cut=True) if fault is not None and fault.kind == "lose_answer" else reply
    except AwsError as error:
        return _told(error, asked.target.startswith("/endpoints/") or (call is not None and call.service == "scheduler"))


def _operation(asked: Asked) -> str:
    found = _INVOKE.fullmatch(asked.target)
    if found and asked.method == "POST" and found[2] in _RUNTIME:
        return _RUNTIME[found[2]]
    service, _, name = asked.headers.get("x-amz-target", "").partition(".")
    if asked.target != "/" or asked.method != "POST" or service != "SageMaker" or name not in OPERATIONS:
        raise AwsError("UnknownOperationException", f"{asked.headers.get('x-amz-target') or asked.target} is not emulated", 404)
    return name


def _control(account: Account, asked: Asked, operation: str) -> Reply:
    if asked.headers.get("content-type") != "application/x-amz-json-1.1":
        raise AwsError("SerializationException", "The content type must be application/x-amz-json-1.1")
    try:
        request = json.loads(asked.body or b"{}")
    except ValueError:
        raise AwsError("SerializationException", "The body is no JSON") from None
    described = shapes.model("sagemaker").operation_model(operation)
    if told := shapes.told(request, described.input_shape):
        raise invalid(told)
    check_tags(request.get("Tags") or ())
    with account.lock:
        given = OPERATIONS[operation](account, {name: value for name, value in request.items() if value is not None})
    if described.output_shape is not None and (told := shapes.told(given, described.output_shape)):
        raise AssertionError(f"the emulator's own answer to {operation} is wrong: {told}")
    body = json.dumps(given, default=_plain).encode() if described.output_shape is not None else b""
    return Reply(200, body, {"content-type": "application/x-amz-json-1.1"})


def _runtime(account: Account, asked: Asked, operation: str) -> Reply:
    found = _INVOKE.fullmatch(asked.target)
    assert found is not None
    if operation == "InvokeEndpointAsync":
        places, told = invoke_async(account, found[1], asked.headers, asked.body)
        return Reply(202, json.dumps(told).encode(), {**places, "content-type": "application/json"})
    given = invoke(account, Invocation(found[1], asked.headers, asked.body, operation == "InvokeEndpointWithResponseStream"))
    headers = given.headers if given.parts is None else {**given.headers, "content-type": KIND}
    return Reply(200, given.body, headers, given.parts)


def _told(error: AwsError, rest: bool) -> Reply:
    """The error's name lies in the body of JSON 1.1, in a header of REST."""
    if rest:
        body = {"Message" if error.code == "ModelError" else "message": error.message, **error.fields}
        return Reply(error.status, json.dumps(body).encode(), {"content-type": "application/json", "x-amzn-errortype": error.code})
    body = {"__type": error.code, "message": error.message, **error.fields}
    return Reply(error.status, json.dumps(body).encode(), {"content-type": "application/x-amz-json-1.1"})


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    raise TypeError(f"{value!r} in an answer")
