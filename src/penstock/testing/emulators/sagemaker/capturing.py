"""Data capture: a share of requests and answers as JSON lines in S3, under `<prefix>/<endpoint>/<variant>/yyyy/mm/dd/hh/`."""

from __future__ import annotations

import base64
import datetime
import json
import random
import uuid
from typing import Any

from penstock.testing.emulators.sagemaker.account import Account
from penstock.testing.emulators.sagemaker.models import CONFIG, ENDPOINT


def captured(account: Account, name: str, variant: str, asked: tuple[bytes, str], answered: tuple[bytes, str]) -> None:
    """`asked` and `answered`: body and content type. One object a request; the service gathers some minutes of them in one."""
    endpoint = account.of(ENDPOINT).get(name)
    config = account.of(CONFIG).get(endpoint.config) if endpoint is not None else None
    wanted = config.request.get("DataCaptureConfig") if config is not None else None
    if not wanted or not wanted.get("EnableCapture") or random.uniform(0, 100) >= wanted["InitialSamplingPercentage"]:
        return
    modes = {option["CaptureMode"] for option in wanted["CaptureOptions"]}
    json_types = wanted.get("CaptureContentTypeHeader", {}).get("JsonContentTypes", ())
    data: dict[str, Any] = {}
    if modes & {"Input", "InputAndOutput"}:
        data["endpointInput"] = _shown(asked, "INPUT", json_types)
    if modes & {"Output", "InputAndOutput"}:
        data["endpointOutput"] = _shown(answered, "OUTPUT", json_types)
    now = datetime.datetime.now(datetime.UTC)
    line = {"captureData": data, "eventMetadata": {"eventId": str(uuid.uuid4()), "inferenceTime": f"{now:%Y-%m-%dT%H:%M:%SZ}"}}
    bucket, _, prefix = wanted["DestinationS3Uri"].removeprefix("s3://").partition("/")
    key = "/".join(filter(None, (prefix.strip("/"), name, variant, f"{now:%Y/%m/%d/%H}", f"{now:%M-%S-%f}-{uuid.uuid4()}.jsonl")))
    account.client("s3").put_object(Bucket=bucket, Key=key, Body=json.dumps({**line, "eventVersion": "0"}).encode() + b"\n")


def _shown(told: tuple[bytes, str], mode: str, json_types: Any) -> dict[str, str]:
    body, kind = told
    plain = kind.partition(";")[0].strip() in json_types
    text = body.decode() if plain else base64.b64encode(body).decode()
    return {"observedContentType": kind, "mode": mode, "data": text, "encoding": "JSON" if plain else "BASE64"}
