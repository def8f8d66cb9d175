"""Data capture: what SageMaker keeps of requests and answers, as objects of JSON lines in S3.

They lie at `captured/<project>/<endpoint>/<variant>/yyyy/mm/dd/hh/`, some minutes after the requests. Our own bridges give each request an
InferenceId that begins with the project's mark; it is captured too, and tells theirs from what others sent.
Source: SageMaker AI developer guide, "Capture data from real-time endpoint"; API reference of InvokeEndpoint (InferenceId).
Not covered: what the service does not capture (requests when the instance's disk is three quarters full).
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from penstock.platforms.captures import Held, Passed
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.errors import translated
from penstock.platforms.sagemaker.folder import Folder
from penstock.platforms.sagemaker.naming import endpoint_name, variant_name
from penstock.platforms.sagemaker.settings import store_mark
from penstock.serving.direct import Direct
from penstock.serving.invocations import ATTRIBUTES, HEALTH, told_path

LONGEST = 48 << 20  # bytes of a line: bodies of 6 MiB both ways, each character escaped
PIECE = 1 << 20


def capture_place(output: str, store: str) -> str:
    """The URL under which everything that is captured for a project goes. `output`: where SageMaker may write."""
    return f"{output}/captured/{store_mark(store)}"


def config_of(place: str, percent: int) -> dict[str, Any]:
    """The DataCaptureConfig of an endpoint configuration."""
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": percent,
        "DestinationS3Uri": place,
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }


def own_id(mark: str) -> str:
    """A new InferenceId of a request of ours; `mark`: the project's."""
    return f"penstock-{mark}-{secrets.token_hex(8)}"


@dataclass(slots=True)
class DataCapture:
    """`store`: the artifact store's URL; `place`: see capture_place."""

    aws: Aws
    store: str
    place: str
    keep: bool = False

    def held(self, deployment: str, since: str) -> Iterator[Held]:
        for variant in self._folder.folders(f"{endpoint_name(deployment, self.store)}/"):
            for row in self._folder.rows(variant, f"{variant}{since}"):
                yield Held(row["Key"], int(row["Size"]))

    def read(self, held: Held, skip: int) -> Iterator[Direct | Passed]:
        answer = self.aws.call("s3:GetObject", _gone, Bucket=self._folder.bucket, Key=held.name)
        if answer is None:
            return
        served = held.name[len(self._folder.prefix) :].split("/")[1]
        for number, line in enumerate(_lines(answer["Body"])):
            if number >= skip:
                yield Passed(f"it is longer than {LONGEST} bytes") if line is None else self._event(line, served)

    def remove(self, held: Held) -> None:
        self.aws.call("s3:DeleteObject", _gone, Bucket=self._folder.bucket, Key=held.name)

    def served(self, version: str, bundle: str) -> str:
        return variant_name(version, bundle)

    def there(self) -> Iterator[str]:
        """URLs of folders, one an endpoint, in which something still lies."""
        yield from (f"s3://{self._folder.bucket}/{folder}" for folder in self._folder.folders())

    @property
    def _folder(self) -> Folder:
        return Folder(self.aws, self.place)

    def _event(self, line: bytes, served: str) -> Direct | Passed:
        try:
            told = json.loads(line)
            about, data = told["eventMetadata"], told["captureData"]
            said = ";".join(str(one) for one in about.get("customAttributes") or ())
            path = told_path({ATTRIBUTES: said.encode("ascii", "replace")})
            if path == HEALTH or str(about.get("inferenceId", "")).startswith(f"penstock-{store_mark(self.store)}-"):
                return Passed()
            ident = str(about["eventId"]).encode().decode()  # what JSON escapes can hold, and no line of ours
            at = datetime.fromisoformat(about["inferenceTime"])
            at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
            asked, answered = (_body(data.get(side)) for side in ("endpointInput", "endpointOutput"))
            training = "training=no" not in said.replace(" ", "").split(";")
            return Direct(ident, at.timestamp(), served, asked, answered, path, training)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return Passed(f"it is no captured request ({type(error).__name__}: {str(error)[:80]})")


def _body(side: Mapping[str, Any] | None) -> bytes:
    """Text as it is where its type was named as JSON, else base64. Nothing of a side that was not captured."""
    if side is None:
        return b""
    data = str(side.get("data") or "")
    return base64.b64decode(data, validate=True) if side.get("encoding") == "BASE64" else data.encode()


def _lines(body: Any) -> Iterator[bytes | None]:
    """Lines without their ends, empty ones left out; None for one that is too long. No more than one line is held."""
    rest, over = bytearray(), False
    try:
        while piece := body.read(PIECE):
            *whole, tail = piece.split(b"\n")
            for part in whole:
                rest += part
                if over or len(rest) > LONGEST:
                    yield None
                elif rest.strip():
                    yield bytes(rest)
                rest, over = bytearray(), False
            rest += tail
            if len(rest) > LONGEST:
                rest, over = bytearray(), True
    except Exception as error:
        raise translated(error, "s3:GetObject") from error
    finally:
        body.close()
    if over:
        yield None
    elif rest.strip():
        yield bytes(rest)


def _gone(code: str, message: str) -> bool:  # noqa: ARG001 (as every `known` has it)
    return code in ("NoSuchKey", "404")
