"""The runtime: a request to an endpoint, by weight or to a variant, goes to one of its instances; whole or as an event stream."""

from __future__ import annotations

import http.client
import random
import secrets
from collections.abc import Generator, Mapping
from dataclasses import dataclass

from penstock.testing.emulators.http import passed_on
from penstock.testing.emulators.sagemaker.account import Account
from penstock.testing.emulators.sagemaker.capturing import Exchange, captured
from penstock.testing.emulators.sagemaker.endpoints import settle
from penstock.testing.emulators.sagemaker.errors import AwsError
from penstock.testing.emulators.sagemaker.events import part
from penstock.testing.emulators.sagemaker.fleet import Instance, Variant
from penstock.testing.emulators.sagemaker.models import ENDPOINT
from penstock.testing.emulators.sagemaker.queueing import config_of

LONGEST_S, LONGEST_STREAM_S = 60.0, 480.0  # an answer may take so long
MAX_BODY, MAX_ATTRIBUTES = 6 << 20, 1024
_INFERENCE = "x-amzn-sagemaker-inference-id"
_ATTRIBUTES, _TARGET = "x-amzn-sagemaker-custom-attributes", "x-amzn-sagemaker-target-variant"


@dataclass(slots=True)
class Invocation:
    """`headers` in lower case."""

    endpoint: str
    headers: Mapping[str, str]
    body: bytes
    streamed: bool = False


@dataclass(slots=True)
class Answer:
    headers: Mapping[str, str]
    body: bytes = b""
    parts: Generator[bytes] | None = None


def invoke(account: Account, asked: Invocation) -> Answer:
    """Raises AwsError: ValidationError for what is not there, ModelError (424) for an answer of the container that is none."""
    if len(asked.body) > MAX_BODY:
        raise AwsError("ValidationError", f"Request payload is larger than {MAX_BODY} bytes", 413)
    attributes = asked.headers.get(_ATTRIBUTES, "")
    if len(attributes) > MAX_ATTRIBUTES or not attributes.isascii():
        raise AwsError("ValidationError", f"CustomAttributes must be ASCII of at most {MAX_ATTRIBUTES} characters")
    with account.lock:
        variant, instance = _placed(account, asked)
    connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=LONGEST_STREAM_S if asked.streamed else LONGEST_S)
    sent = {name: asked.headers[name] for name in ("content-type", "accept", _ATTRIBUTES) if name in asked.headers}
    try:
        connection.request("POST", "/invocations", asked.body, sent)
        answer = connection.getresponse()
        if answer.status != 200:
            raise _model_error(variant, answer.status, answer.read().decode("utf-8", "replace"))
    except TimeoutError:
        connection.close()
        raise _model_error(variant, 0, "Your invocation timed out while waiting for a response from container primary.") from None
    except OSError as error:
        connection.close()
        raise _model_error(variant, 500, f"The container could not be reached: {error}") from None
    except AwsError:
        connection.close()
        raise
    told = {"x-amzn-invoked-production-variant": variant.name, "content-type": answer.headers.get("content-type", "")}
    if answer.headers.get(_ATTRIBUTES):
        told[_ATTRIBUTES] = answer.headers[_ATTRIBUTES]
    if asked.streamed:
        told["x-amzn-sagemaker-content-type"] = told.pop("content-type")
        return Answer(told, parts=(part(piece) for piece in passed_on(connection, answer)))
    body = answer.read()
    connection.close()
    both = (asked.body, sent.get("content-type", "")), (body, told["content-type"])
    captured(account, asked.endpoint, variant.name, Exchange(*both, asked.headers.get(_INFERENCE, ""), attributes))
    return Answer(told, body)


def _placed(account: Account, asked: Invocation) -> tuple[Variant, Instance]:
    endpoint = account.of(ENDPOINT).get(asked.endpoint)
    if endpoint is not None:
        settle(account, endpoint)
    if endpoint is None or endpoint.status == "Deleting":
        raise AwsError("ValidationError", f"Endpoint {asked.endpoint} of account 123456789012 not found.")
    if not endpoint.variants:
        raise AwsError("ValidationError", f"Endpoint {asked.endpoint} of account 123456789012 is not in service.")
    if config_of(account, endpoint) is not None:
        raise AwsError("ValidationError", f"Endpoint {asked.endpoint} of account 123456789012 takes asynchronous invocations only.")
    wanted = asked.headers.get(_TARGET)
    if wanted is not None and wanted not in endpoint.variants:
        raise AwsError("ValidationError", f"Variant {wanted} not found for endpoint {asked.endpoint} of account 123456789012.")
    choice = list(endpoint.variants.values())
    variant = endpoint.variants[wanted] if wanted is not None else random.choices(choice, [one.weight for one in choice])[0]
    if not variant.ready:
        raise AwsError("ServiceUnavailable", "Service Unavailable", 503)
    variant.turn += 1
    return variant, variant.ready[variant.turn % len(variant.ready)]


def _model_error(variant: Variant, status: int, body: str) -> AwsError:
    log = f"https://us-east-1.console.aws.amazon.com/cloudwatch/home#logEventViewer:group=/aws/sagemaker/Endpoints/{secrets.token_hex(4)}"
    message = f'Received {"client" if 400 <= status < 500 else "server"} error ({status}) from primary with message "{body}". See {log}'
    return AwsError("ModelError", message, 424, OriginalStatusCode=status, OriginalMessage=body, LogStreamArn=f"arn:{variant.name}")
