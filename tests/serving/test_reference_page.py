"""docs/reference/http-api.md names every error code, metric and record field that the code has, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from penstock.control.watch.published import FAMILIES
from penstock.serving.params import PARSERS
from penstock.serving.records import Record
from penstock.testing.plain import PLAIN
from penstock.testing.serving import SECRET, RunningGateway

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "http-api.md").read_text()
SOURCES = "\n".join(path.read_text() for path in (ROOT / "src" / "penstock" / "serving").glob("*.py"))


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def test_every_error_code_is_listed_and_every_listed_one_exists() -> None:
    listed = {code for row in section("Errors").splitlines() if row.startswith("|") for code in re.findall(r"`([a-z]+_[a-z_]+)`", row)}
    listed -= {"header_timeout_s", "max_body_bytes"}
    written = set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', SOURCES))
    assert listed <= written
    raised = re.findall(r'(?:RequestRefused|error_body|_refuse|busy)\([^\n]*?"([a-z]+_[a-z_]+)"(?:,|\))', SOURCES)
    assert len(raised) > 10
    assert set(raised) <= listed


def test_every_metric_is_listed(gateway: RunningGateway) -> None:
    body = {"model": "echo", "prompt": "a", "max_tokens": 1}
    httpx.post(f"{gateway.url}/v1/completions", json=body, headers={"authorization": f"Bearer {SECRET}"}, **PLAIN)
    given = set(re.findall(r"^# TYPE (\S+)", httpx.get(f"{gateway.url}/metrics", **PLAIN).text, re.MULTILINE))
    listed = {name for name in re.findall(r"`(penstock_[a-z_]+)`", section("Metrics")) if not name.startswith("penstock_replica_")}
    assert listed == given | set(FAMILIES), "those of the watcher are there once it has measured"


def test_every_record_field_and_route_is_listed() -> None:
    named = re.findall(r"`([a-z_]+)`", section("Records"))
    assert [name for name in Record._fields if name not in named] == []
    for route in (*PARSERS, "/v1/models", "/healthz", "/metrics"):
        assert f"`{route}`" in section("Routes")
