"""Data capture: a share of requests and answers as JSON lines in S3, under `<prefix>/<endpoint>/<variant>/yyyy/mm/dd/hh/`.

Source: SageMaker AI developer guide, "Capture data from real-time endpoint" (the folders, `captureData`, `eventMetadata`, base64 for types
that are not named); an InferenceId is "added to the captured data"; `customAttributes` is a list there. Requests gather for
`account.capture_s` in one object, as at the service for some minutes. Streams and failed requests are not captured: nothing says that
they are.
"""

from __future__ import annotations

import base64
import datetime
import json
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.testing.emulators.sagemaker.account import Account
from penstock.testing.emulators.sagemaker.models import CONFIG, ENDPOINT

GATHERED = "gathered captures"  # URL of a folder → (time, line) rows


@dataclass(frozen=True, slots=True)
class Exchange:
    """`asked` and `answered`: body and content type; `inference`: the id that the caller gave, `attributes`: its custom ones."""

    asked: tuple[bytes, str]
    answered: tuple[bytes, str]
    inference: str = ""
    attributes: str = ""


def captured(account: Account, name: str, variant: str, exchange: Exchange) -> None:
    """Draws whether the request is captured, and writes what has been gathered for long enough."""
    endpoint = account.of(ENDPOINT).get(name)
    config = account.of(CONFIG).get(endpoint.config) if endpoint is not None else None
    wanted = config.request.get("DataCaptureConfig") if config is not None else None
    if not wanted or not wanted.get("EnableCapture", True) or random.uniform(0, 100) >= wanted["InitialSamplingPercentage"]:
        return
    with account.lock:
        now = account.clock()
        key = "/".join((name, variant, f"{datetime.datetime.fromtimestamp(now, datetime.UTC):%Y/%m/%d/%H}"))
        place = f"{wanted['DestinationS3Uri'].rstrip('/')}/{key}"
        account.of(GATHERED).setdefault(place, []).append((now, json.dumps(_line(wanted, exchange, now)).encode() + b"\n"))
    deliver(account)


def deliver(account: Account, *, all_: bool = False) -> None:
    """Objects of lines, of folders whose oldest line is `account.capture_s` old, or of all."""
    with account.lock:
        now, gathered = account.clock(), account.of(GATHERED)
        due = [place for place, lines in gathered.items() if all_ or now - lines[0][0] >= account.capture_s]
        for place in due:
            lines = gathered.pop(place)
            bucket, _, folder = place.removeprefix("s3://").partition("/")
            at = datetime.datetime.fromtimestamp(lines[0][0], datetime.UTC)
            body = b"".join(line for _, line in lines)
            account.client("s3").put_object(
                Bucket=bucket, Key=f"{folder}/{at:%M-%S}-{at.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl", Body=body
            )


def _line(wanted: Mapping[str, Any], exchange: Exchange, now: float) -> dict[str, Any]:
    modes = {option["CaptureMode"] for option in wanted["CaptureOptions"]}
    types = wanted.get("CaptureContentTypeHeader", {})
    data: dict[str, Any] = {}
    if modes & {"Input", "InputAndOutput"}:
        data["endpointInput"] = _shown(exchange.asked, "INPUT", types)
    if modes & {"Output", "InputAndOutput"}:
        data["endpointOutput"] = _shown(exchange.answered, "OUTPUT", types)
    about: dict[str, Any] = {"eventId": str(uuid.uuid4())}
    if exchange.attributes:
        about["customAttributes"] = [exchange.attributes]
    if exchange.inference:
        about["inferenceId"] = exchange.inference
    about["inferenceTime"] = f"{datetime.datetime.fromtimestamp(now, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {"captureData": data, "eventMetadata": about, "eventVersion": "0"}


def _shown(told: tuple[bytes, str], mode: str, types: Mapping[str, Any]) -> dict[str, str]:
    body, kind = told
    plain = kind.partition(";")[0].strip()
    encodings = {"JSON": types.get("JsonContentTypes", ()), "CSV": types.get("CsvContentTypes", ())}
    encoding = next((name for name, kinds in encodings.items() if plain in kinds), "BASE64")
    text = base64.b64encode(body).decode() if encoding == "BASE64" else body.decode("utf-8", "replace")
    return {"observedContentType": kind, "mode": mode, "data": text, "encoding": encoding}
