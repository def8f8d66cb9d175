"""Up to the wire: `penstock serve` as Lambda starts it, with AWS's runtime client, against a strict stand-in of the Runtime API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.lambda_runtime import ROOT, RuntimeApi
from penstock.testing.serving import ECHO

needs_client = pytest.mark.skipif(find_spec("awslambdaric") is None, reason="AWS's runtime client is not installed (penstock[lambda])")


def web(body: Any, path: str = "/v1/classify") -> dict[str, Any]:
    http = {"method": "POST", "path": path}
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": {},
        "requestContext": {"http": http, "stage": "$default"},
        "body": json.dumps(body),
    }


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What a function of an image is told."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    digest = Artifacts(str(tmp_path / "store"), tmp_path / "cache").commit(bundle, "bundle", {}).digest
    serving = {"bundle": digest, "model": "intents", "version": "4", "settings": {"task": "text-classification"}}
    told = {"PENSTOCK_SERVING": json.dumps(serving), "PENSTOCK_REPLICA": json.dumps({"engine_class": ECHO})}
    return {**os.environ, **told, "PENSTOCK_ARTIFACTS": str(tmp_path / "store"), "PENSTOCK_HOME": str(tmp_path / "home")}


@pytest.fixture
def api() -> Iterator[RuntimeApi]:
    with RuntimeApi() as found:
        yield found


def start(api: RuntimeApi, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    given = {**environ, "AWS_LAMBDA_RUNTIME_API": api.address, "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/29/[4]0123456789abcdef"}
    return subprocess.Popen([sys.executable, "-m", "penstock", "serve"], env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@needs_client
def test_events_are_answered_one_after_the_other(api: RuntimeApi, environ: dict[str, str]) -> None:
    process = start(api, environ)
    try:
        assert api.ready.wait(60), process.communicate()[0].decode()
        first = api.invoke(web({"model": "intents", "input": "where is my card"})).result()
        assert (first["statusCode"], first["isBase64Encoded"]) == (200, False)
        assert json.loads(first["body"])["data"][0]["label"] in ("billing", "cards", "transfers")
        assert first["headers"]["x-penstock-version"] == "4"
        assert first["headers"]["x-penstock-replica"] == "4-01234567"
        direct = api.invoke({"model": "intents", "input": ["a", "b"]})
        assert len(direct.result()["data"]) == 2
        assert direct.result()["id"] == direct.id
        wrong = api.invoke(web({"model": "intents", "input": 7})).result()
        assert (wrong["statusCode"], json.loads(wrong["body"])["error"]["param"]) == (400, "input")
        assert api.invoke(web({"model": "intents", "input": "boom"})).result()["statusCode"] == 500
        assert api.invoke(web({"model": "intents", "input": "again"})).result()["statusCode"] == 200
        assert api.invoke("no object").result()["error"]["code"] == "invalid_event"
        assert api.faults == []
    finally:
        process.kill()
        process.communicate()


@needs_client
def test_a_bundle_that_cannot_be_served_is_an_error_of_init(api: RuntimeApi, environ: dict[str, str]) -> None:
    environ["PENSTOCK_REPLICA"] = json.dumps({"engine_class": ECHO, "settings": {"fail": "load"}})
    process = start(api, environ)
    told = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 1, told
    assert api.init_error is not None
    assert "told to fail" in api.init_error["errorMessage"]
    assert api.init_error["errorType"] == "BadInput"
    assert api.faults == []


@pytest.mark.skipif(find_spec("awslambdaric") is not None, reason="AWS's runtime client is installed")
def test_without_the_client_it_says_what_to_install(api: RuntimeApi, environ: dict[str, str]) -> None:
    out, _ = start(api, environ).communicate(timeout=60)
    assert b"penstock[lambda]" in out


def ask(api: RuntimeApi, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    asked = urllib.request.Request(f"http://{api.address}{ROOT}{path}", body if method == "POST" else None, headers, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=10) as answer:
            return answer.status, dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_the_stand_in_refuses_what_lambda_refuses(api: RuntimeApi) -> None:
    one = api.invoke({"a": 1})
    status, headers = ask(api, "GET", "/invocation/next")
    assert (status, headers["Lambda-Runtime-Aws-Request-Id"]) == (200, one.id)
    assert ask(api, "POST", "/invocation/other/response", b"{}")[1]["errorType"] == "InvalidRequestID"
    assert ask(api, "POST", f"/invocation/{one.id}/response", b'{"ok": true}')[0] == 202
    assert one.result() == {"ok": True}
    assert ask(api, "POST", f"/invocation/{one.id}/response", b"{}")[0] == 400
    assert ask(api, "POST", "/init/error", b'{"errorMessage": "m", "errorType": "t"}')[0] == 202
    two, _ = api.invoke({}), ask(api, "GET", "/invocation/next")
    assert ask(api, "POST", f"/invocation/{two.id}/error", b'{"message": "m"}')[0] == 202
    assert two.error is not None
    assert [fault.partition(",")[0].split(":")[0] for fault in api.faults] == [
        "answered for other",
        f"answered for {one.id}",
        "an error of init after init",
        "an error of the wrong form",
    ]
    assert ask(api, "GET", "/nothing")[0] == 404
