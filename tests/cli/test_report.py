"""`penstock report`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from penstock.store.signals import Signal
from penstock.store.store import Store
from penstock.testing.watched import deployment


@pytest.fixture
def measured(store: Store) -> None:
    deployment(store, "desk", versions=(1,))
    now = time.time()
    for minute in range(60):
        at = now - 60 * minute
        store.signals.append([Signal("desk", "requests", at, 100.0, 100.0), Signal("desk", "error_rate", at, 0.02, 100.0, "1")])
        store.signals.append([Signal("desk", "error_rate", at, 0.02, 100.0)])


@pytest.mark.usefixtures("measured")
def test_a_page_is_written(call, folder: Path) -> None:
    told = call("report", "desk", "--since", "30m")
    assert told.out.splitlines()[0] in ("Requests: 3,000", "Requests: 2,900")
    assert "Errors: 2 %, worst window 2 %" in told.out
    assert told.out.splitlines()[-1] == "written to desk-report.html"
    page = (folder / "desk-report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<h1>Report of desk</h1>" in page
    found = call("report", "desk", "--since", "2000-01-01T00:00:00", "--until", "1d", "--out", "old.html", "--json").json
    assert found["file"] == "old.html"
    assert found["figures"][0] == {"figure": "Requests", "value": "0", "note": ""}
    assert found["until"] - found["since"] > 86400 * 9000
    assert (found["alerts"], found["reactions"]) == ([], [])


@pytest.mark.usefixtures("measured")
def test_what_is_wrong_is_said(call) -> None:
    assert "no deployment is called 'disk'" in call("report", "disk", "--json").error["message"]
    assert "--since: 'soon' is neither an age such as 7d nor a time" in call("report", "desk", "--since", "soon", "--json").error["message"]
    assert call("report", "desk", "--since", "1h", "--until", "2h", "--json").error["message"] == "--since 1h is not before --until 2h"
    assert call("report", "desk", "--out", "/proc/none/x.html").code == 1
