"""`penstock requests`: what the gateway of this folder recorded."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from penstock.serving.records import Record, RecordWriter


@pytest.fixture
def recorded(folder: Path) -> None:
    writer, now = RecordWriter(folder / ".penstock" / "gateway" / "records"), time.time()
    for number, (age, version, status) in enumerate([(7200, "1", 200), (60, "1", 200), (30, "2", 503), (10, "2", 200)]):
        writer.write(
            [Record(now - age, f"req-{number}", "m", version, "r", "/v1/classify", "key-1", status, 10, 20, 3, 0, 0.1, 1.0, 1.5, 1)]
        )


@pytest.mark.usefixtures("recorded")
def test_list(call) -> None:
    assert [r["id"] for r in call("requests", "--json").json["requests"]] == ["req-3", "req-2", "req-1", "req-0"]
    told = call("requests", "list", "--since", "1h", "--model", "m", "--version", "1", "--limit", "5", "--json").json
    assert [r["id"] for r in told["requests"]] == ["req-1"]
    assert [r["id"] for r in call("requests", "list", "--status", "503", "--json").json["requests"]] == ["req-2"]
    lines = call("requests").out.splitlines()
    assert lines[0].split() == ["AT", "ID", "MODEL", "ROUTE", "STATUS", "TOOK", "TOKENS"]
    assert "m 2" in lines[1]


@pytest.mark.usefixtures("recorded")
def test_one_that_went_past_the_gateway_is_no_fast_one(call, folder: Path) -> None:
    direct = [
        Record(time.time(), f"cap-{number}", "m", "2", None, "/v1/classify", None, 200, 1, 1, 0, 0, 0.0, 0.0, 0.0, 0) for number in (1, 2)
    ]
    RecordWriter(folder / ".penstock" / "gateway" / "records").write(direct)
    assert call("requests", "list", "--limit", "1").out.splitlines()[1].split()[-2:] == ["-", "-"]
    (two, _) = call("requests", "stats", "--since", "1h", "--json").json["groups"]
    assert (two["requests"], two["p50_ms"]) == (4, 1.5)


@pytest.mark.usefixtures("recorded")
def test_show(call) -> None:
    (found,) = call("requests", "show", "req-2", "--json").json["records"]
    assert found["status"] == 503
    assert "status" in call("requests", "show", "req-2").out
    assert call("requests", "show", "nope").code == 2


@pytest.mark.usefixtures("recorded")
def test_stats(call) -> None:
    told = call("requests", "stats", "--since", "1h", "--json").json
    assert told["by"] == ["model", "version"]
    assert [(g["version"], g["requests"], g["errors"]) for g in told["groups"]] == [("2", 2, 1), ("1", 1, 0)]
    assert told["groups"][1]["requests_per_s"] is None
    assert [line.split()[0] for line in call("requests", "stats", "--by", "status,version").out.splitlines()[1:]] == ["200", "200", "503"]
    assert call("requests", "stats", "--by", "colour").code == 2
    assert call("requests", "stats", "--since", "yesterday").code == 2


def test_nothing_is_no_error(call) -> None:
    assert call("requests").out == "no requests\n"
    assert call("requests", "stats", "--json").json["groups"] == []
