"""`penstock bench` as a command: its report, its refusals, and that no key is ever shown."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

KEY = "psk-secret-of-the-bench"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, "-m", "penstock.testing.delays", "--delay-ms", "2", "--events", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


@pytest.mark.load
def test_a_report_a_page_and_no_key(call: Callable[..., Any], url: str, folder: Path) -> None:
    done = call(
        "bench", url, "--model", "m", "--rate", "40", "--duration", "2.5s", "--warmup", "0.2s", "--key", KEY, "--page", "r.html", "--json"
    )
    report = done.json
    assert report["result"]["succeeded"] == report["result"]["requests"] > 10
    assert done.code == (0 if report["result"]["generator"]["valid"] else 1)
    assert report["target"] | {"url": ""} == {
        "url": "",
        "path": "/v1/completions",
        "model": "m",
        "version": None,
        "stream": True,
        "max_tokens": 32,
        "prompt_tokens": 32,
    }
    page = (folder / "r.html").read_text()
    assert page.count("<svg") >= 3
    assert "http-equiv" in page
    assert not any(mark in page for mark in ("<script", "http://www", "src="))
    assert KEY not in done.out + done.err + page
    (folder / "a.json").write_text(done.out)
    same = call("bench", "compare", "a.json", "a.json", "--json").json
    assert {row["ratio"] for row in same["rows"] if row["first"]} == {1.0}
    assert same["unlike"] == []
    text = call("bench", url, "--model", "m", "--concurrency", "2", "--duration", "0.5s", "--warmup", "0s")
    assert "closed loop, 2 clients" in text.out
    assert "first token" in text.out


def test_refusals_name_what_to_do(call: Callable[..., Any], url: str, folder: Path) -> None:
    both = call("bench", url, "--model", "m", "--rate", "5", "--step", "1,2")
    assert both.code == 2
    assert "--rate and --step are different loads" in both.err
    assert "is not a promise" in call("bench", url, "--find-knee", "--slo", "fast").err
    assert "--duration" in call("bench", url, "--duration", "soon").err
    assert call("bench", "nothing-here").code == 2
    assert call("bench", url).code == 2  # it lists no models
    (folder / "prompts.csv").write_text("question\nwhy?\n")
    refused = call("bench", url, "--model", "m", "--prompts", "prompts.csv")
    assert "it has: question" in refused.err
    (folder / "x.json").write_text("{}")
    assert "no load test's report" in call("bench", "compare", "x.json", "x.json").err


def test_own_prompts_and_scripts(call: Callable[..., Any], url: str, folder: Path) -> None:
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"text": f"prompt {n}"}) + "\n" for n in range(3)))
    arguments = ("bench", url, "--model", "m", "--prompts", "prompts.jsonl", "--key", KEY)
    for tool, file in (("k6", "load.js"), ("locust", "load.py")):
        told = call(*arguments, "--spike", "5:20", "--export", tool, file, "--json").json
        assert told["file"] == file
        text = (folder / file).read_text()
        assert "prompt 2" in text
        assert KEY not in text
    assert "ramping-arrival-rate" in (folder / "load.js").read_text()
    assert call(*arguments, "--find-knee", "--export", "k6", "x.js").code == 2
    assert "no script can be written for 'jmeter'" in call(*arguments, "--export", "jmeter", "x").err
