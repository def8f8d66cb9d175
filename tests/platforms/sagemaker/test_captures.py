"""What clients send to an endpoint past our gateway: captured by SageMaker, read into our records, none of ours among it."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control import captures
from penstock.control.outside import wanting
from penstock.core.home import Home
from penstock.platforms.captures import Held, Passed
from penstock.platforms.contract import VersionSpec
from penstock.platforms.sagemaker import capturing
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.capturing import DataCapture, own_id
from penstock.platforms.sagemaker.naming import endpoint_name, variant_name
from penstock.platforms.sagemaker.platform import SAGEMAKER
from penstock.platforms.sagemaker.settings import settings_of, store_mark
from penstock.serving.direct import Direct, line_of
from penstock.serving.record_files import read_records
from penstock.serving.snapshot import ModelRoute
from penstock.store.artifacts import Artifacts
from penstock.store.store import Store
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.emulators.sagemaker.capturing import deliver
from penstock.testing.endpoints_suite import bundle, settled
from penstock.testing.hosted_suite import NAME, brought, spec
from penstock.testing.serving import ECHO, gateway_to

STORE = "s3://bucket/store"


@pytest.fixture
def store(place: tuple[Home, Artifacts]) -> Iterator[Store]:
    made = Store.open(place[0])
    yield made
    made.close()


def test_what_goes_past_the_gateway_is_recorded_and_nothing_twice(
    cloud: SageMaker, place: tuple[Home, Artifacts], store: Store, tmp_path: Path
) -> None:
    home, artifacts = place
    config = cloud.section(drain_s=5.0, replica={"engine_class": ECHO}, capture={"percent": 100})
    endpoints, one = SAGEMAKER.endpoints(*place, config), bundle(artifacts, tmp_path, "one")
    versions = [{"version": 7, "bundle": one, "weight": 1.0}]
    row: dict[str, Any] = {"model": "m", "task": "text-generation", "platform": {"name": "aws", "config": config}, "versions": versions}
    store.resources.create("deployment", NAME, {**row, "deploy": {"monitor": {"capture": {}}}})
    ready = settled(endpoints, spec(VersionSpec("7", one, 1)))
    cloud.account.capture_s = 1e9  # all of it in one object, as at the service
    (name,) = cloud.account.of("endpoint")
    stage, gateway = gateway_to(tmp_path, NAME, ready)
    with stage, contextlib.closing(boto3.client("sagemaker-runtime")) as runtime:
        assert gateway.ask(model=NAME, prompt="by the gateway").status_code == 200
        asked = {"EndpointName": name, "ContentType": "application/json"}
        body = json.dumps({"model": NAME, "prompt": "I am anna@example.org", "max_tokens": 2})
        told = json.loads(runtime.invoke_endpoint(**asked, Body=body, InferenceId="theirs")["Body"].read())
        chat = json.dumps({"model": NAME, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1})
        runtime.invoke_endpoint(**asked, Body=chat, CustomAttributes="path=/v1/chat/completions; training=no")
    endpoints._hosting.ask(name, variant_name("7", one))
    assert captures.bring(store, home, 0.0) == 0, "nothing has reached S3 yet"
    deliver(cloud.account, all_=True)
    assert [one for one in SAGEMAKER.left(home, artifacts, config) if "captured" in one] == [
        f"captured requests {artifacts.url}/captured/{store_mark(artifacts.url)}/{name}/"
    ]
    assert wanting(store)
    assert captures.bring(store, home, 0.0) == 2
    assert captures.bring(store, home, 0.0) == 0
    first, second = sorted(read_records(home.gateway / "records"), key=lambda record: str(record["route"]), reverse=True)
    assert (first["id"], first["version"], first["completion_tokens"], first["training"]) == (told["id"], "7", 2, True)
    assert first["text_in"] is not None
    assert "anna@" not in first["text_in"]
    assert (second["route"], second["text_in"], second["training"]) == ("/v1/chat/completions", "user: hello", False)
    endpoints.delete(NAME)
    assert not [one for one in SAGEMAKER.left(home, artifacts, config) if "captured" in one], "what was read is gone"


def test_capture_comes_and_goes_with_the_section(cloud: SageMaker, place: tuple[Home, Artifacts], tmp_path: Path) -> None:
    one = bundle(place[1], tmp_path, "one")
    wish, seen = spec(VersionSpec("1", one, 1)), []
    for section in ({}, {"capture": {"percent": 20}}, {}):
        endpoints = SAGEMAKER.endpoints(*place, cloud.section(drain_s=5.0, replica={"engine_class": ECHO}, **section))
        settled(endpoints, wish)
        (name,) = cloud.account.of("endpoint")
        wanted = 20 if section else None

        def shown(endpoints: Any = endpoints, wanted: Any = wanted, name: str = name) -> bool:
            found = endpoints.aws.call("sagemaker:DescribeEndpoint", EndpointName=name)
            return (found.get("DataCaptureConfig") or {}).get("CurrentSamplingPercentage") == wanted and found[
                "EndpointStatus"
            ] == "InService"

        brought(endpoints, wish, shown)
        (variant,) = cloud.account.of("endpoint")[name].variants.values()
        seen += [instance.container for instance in variant.instances]
    assert len(set(seen)) == 1, "no instance was started for it"
    endpoints.delete(NAME)


def line(ident: str, asked: Any, encoding: str = "JSON", **about: Any) -> bytes:
    sides = {"endpointInput": asked, "endpointOutput": '{"id": "", "usage": {"prompt_tokens": 3}}'}
    shown = {
        name: {"observedContentType": "application/json", "mode": "X", "data": data, "encoding": encoding} for name, data in sides.items()
    }
    if encoding == "BASE64":
        shown["endpointOutput"] |= {"encoding": "JSON"}
    about = {"eventId": ident, "inferenceTime": "2026-09-21T10:11:12Z", **about}
    return json.dumps({"captureData": shown, "eventMetadata": about, "eventVersion": "0"}).encode()


@pytest.fixture
def held(cloud: SageMaker, monkeypatch: pytest.MonkeyPatch) -> DataCapture:
    """Lists two rows a page."""
    url = f"{cloud.bucket()}/store"
    made = DataCapture(Aws(settings_of(cloud.section())), url, f"{url}/captured")
    real = Aws.call

    def call(self: Aws, operation: str, known: Any = None, **parameters: Any) -> Any:
        return real(self, operation, known, **({"MaxKeys": 2, **parameters} if operation == "s3:ListObjectsV2" else parameters))

    monkeypatch.setattr(Aws, "call", call)
    return made


def put(made: DataCapture, at: str, *lines: bytes, variant: str = "v1-a") -> None:
    folder = made._folder
    key = f"{folder.prefix}{endpoint_name(NAME, made.store)}/{variant}/{at}/{secrets.token_hex(4)}.jsonl"
    made.aws.call("s3:PutObject", Bucket=folder.bucket, Key=key, Body=b"\n".join(lines))


def test_pages_of_objects_and_variants_are_gone_through(held: DataCapture) -> None:
    for variant in ("v1-a", "v2-b", "v3-c"):
        for hour in ("08", "09", "10", "11", "12"):
            put(held, f"2026/09/21/{hour}", line("x", "{}"), variant=variant)
    assert len(list(held.held(NAME, ""))) == 15
    assert len(list(held.held(NAME, "2026/09/21/11"))) == 6
    assert list(held.held("another", "")) == []
    for one in held.held(NAME, ""):
        held.remove(one)
        held.remove(one)
    assert list(held.there()) == []


def test_lines_as_the_service_writes_them(held: DataCapture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capturing, "LONGEST", 4000)
    monkeypatch.setattr(capturing, "PIECE", 64)
    mine = own_id(store_mark(held.store))
    put(
        held,
        "2026/09/21/10",
        line("plain", '{"prompt": "a"}', customAttributes=["path=/v1/completions"], inferenceTime="2026-09-21T10:11:12.5Z"),
        b"",
        line("coded", "eyJpbnB1dCI6ICLDpCJ9", "BASE64"),
        line("ours", "{}", inferenceId=mine),
        line("health", "{}", customAttributes=["path=/healthz"]),
        line("another project's", "{}", inferenceId=own_id(store_mark("s3://other"))),
        line("huge", "x" * 9000),
        line("bad base64", "???", "BASE64"),
        b'{"captureData": {}}',
        line("late", "{}", inferenceTime="yesterday"),
        line("\ud800", "{}"),
        line("cut short", "{}")[:-20],
    )
    (only,) = held.held(NAME, "")
    found = list(held.read(only, 0))
    assert [one.id if isinstance(one, Direct) else bool(one.damage) for one in found] == [
        *("plain", "coded", False, False, "another project's"),
        *(True, True, True, True, True, True),
    ]
    assert isinstance(found[0], Direct)
    assert isinstance(found[1], Direct)
    assert (found[0].at, found[0].path, found[0].served) == (1789985472.5, "/v1/completions", "v1-a")
    assert found[1].asked == '{"input": "ä"}'.encode()
    assert found[5] == Passed("it is longer than 4000 bytes")
    assert list(held.read(only, 9)) == found[9:]
    assert list(held.read(Held("captured/gone/v/x", 1), 0)) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    ),
    st.text(),
    st.binary(),
)
def test_whatever_a_captured_line_says_it_is_a_record_or_damaged(value: Any, text: str, raw: bytes) -> None:
    made = DataCapture(None, STORE, f"{STORE}/captured")  # type: ignore[arg-type]
    route = ModelRoute("intents", "text-classification", (), metadata=("channel",))
    whole: Mapping[str, Any] = {"captureData": value, "eventMetadata": value}
    about = {"eventId": value, "inferenceTime": "2026-09-21T10:11:12Z", "customAttributes": value, "inferenceId": value}
    sides = {"endpointInput": {"data": text}, "endpointOutput": {"data": json.dumps({"id": value, "usage": value, "data": value})}}
    told = ({"captureData": sides, "eventMetadata": about}, whole, value, {"captureData": {"endpointInput": value}, "eventMetadata": about})
    for one in (raw, *(json.dumps(one).encode() for one in told)):
        event = made._event(one, "v1-a")
        assert isinstance(event, Passed) or json.loads(line_of(event, route, None))["model"] == "intents"
