"""From a file to a served classifier, and what must survive: kills, swaps under load, tampering, second thoughts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from .conftest import CLASSIFY, Project, benched, digests, online

pytestmark = [pytest.mark.models, pytest.mark.timeout(600)]
MODEL_SIDE = ("dataset", "model", "export", "bundle", "evaluation")


@pytest.fixture(scope="module")
def project(make_project: Any) -> Project:
    made: Project = make_project(CLASSIFY)
    made.penstock("up", "--port", "0")
    return made


@pytest.fixture(scope="module")
def first(project: Project) -> dict[str, Any]:
    return project.json("run")


@pytest.fixture(scope="module")
def key(project: Project) -> str:
    return str(project.json("keys", "create", "test")["key"])


def test_run_says_all_that_its_json_promises(first: dict[str, Any]) -> None:
    assert first["status"] == "succeeded"
    assert {a["kind"] for a in first["artifacts"]} == {"dataset", "model", "export", "bundle", "evaluation", "report"}
    assert all(a["digest"].startswith("sha256:") and len(a["digest"]) == 71 for a in first["artifacts"])
    assert first["model"]["version"] == 1
    assert first["model"]["digest"] == digests(first, "bundle")["bundle"]
    assert [g["passed"] for g in first["gates"]] == [True, True]
    assert "no champion" in first["gates"][1]["reason"]
    assert first["deployment"]["name"] == "docs"
    assert 0 < first["metrics"]["accuracy.low"] <= first["metrics"]["accuracy"] <= first["metrics"]["accuracy.high"] < 1


def test_it_answers_behind_the_gateway(project: Project, first: dict[str, Any], key: str) -> None:
    answer = ask(first, key, "Return a new array of given shape.")
    assert len(answer["data"][0]["labels"]) == 3
    assert answer["data"][0]["score"] == max(row["score"] for row in answer["data"][0]["labels"])
    assert project.json("predict", "docs", "Open a file.", "Send a signal.")["answers"][1]["input"] == "Send a signal."
    project.penstock("predict", "docs", "Open a file.")
    assert [k["name"] for k in project.json("keys", "list")["keys"]].count("predict") == 1
    assert (project.folder / ".penstock" / "predict.key").stat().st_mode & 0o077 == 0


def ask(result: dict[str, Any], key: str, text: str) -> dict[str, Any]:
    body = json.dumps({"model": result["deployment"]["name"], "input": text, "top_k": 3}).encode()
    request = urllib.request.Request(f"{result['deployment']['url']}/v1/classify", body, {"Authorization": f"Bearer {key}"})
    deadline = time.monotonic() + 5
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                found: dict[str, Any] = json.load(response)
                return found
        except HTTPError as error:
            if error.code != 401 or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_labels_and_scores_are_those_of_the_gateway(project: Project, first: dict[str, Any], key: str) -> None:
    """A batch through the bundle that serves."""
    texts = [
        f"{word} a {thing} and return it" for word in ("Open", "Close", "Parse", "Send") for thing in ("file", "socket", "date", "thread")
    ]
    (project.folder / "in.jsonl").write_text("".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts)))
    done = project.json("batch", "run", "deployment:docs", "in.jsonl", "-o", "out.jsonl")
    assert (done["rows"], done["failures"]) == (16, 0)
    assert done["bundle"] == project.json("deployments")["deployments"][0]["digest"]
    url = first["deployment"]["url"]
    rows = [json.loads(line) for line in (project.folder / "out.jsonl").read_text().splitlines()]
    for row, text in zip(rows, texts, strict=True):
        answer = online(url, key, "/v1/classify", {"model": "docs", "input": text})["data"][0]
        assert row["label"] == answer["label"]
        assert row["score"] == pytest.approx(answer["score"], abs=2e-3)  # int8 activations are scaled by batch
    project.json("batch", "run", "docs:1", "in.jsonl", "-o", "single.jsonl", "--rows-per-request", "1", "--concurrency", "1")
    single = [json.loads(line) for line in (project.folder / "single.jsonl").read_text().splitlines()]
    for row, text in zip(single, texts, strict=True):
        answer = online(url, key, "/v1/classify", {"model": "docs", "input": text})["data"][0]
        assert (row["label"], row["score"]) == (answer["label"], round(answer["score"], 6))  # alone in its batch: the very number
    report = benched(project, "docs", "--rate", "20", "--duration", "2s")
    assert report["result"]["failed"] == 0
    assert report["target"]["path"] == "/v1/classify"
    assert report["target"]["version"] == "1"


def test_the_report_is_one_page_that_needs_nothing_else(project: Project, first: dict[str, Any], tmp_path: Path) -> None:
    found = project.json("runs", "report", first["run"], "--out", str(tmp_path))
    page = Path(found["report"]).read_text()
    assert page.lower().startswith("<!doctype html>")
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert digests(first, "bundle")["bundle"][7:19] in page


def test_a_second_run_finds_everything(project: Project, first: dict[str, Any]) -> None:
    again = project.json("run")
    assert {step["phase"] for step in again["steps"]} == {"cached"}
    assert again["model"] == first["model"]


@pytest.mark.usefixtures("first")
def test_plan_says_why_around_an_edit(project: Project) -> None:
    assert {s["action"] for s in project.json("plan")["steps"]} == {"cached"}
    planned = {s["name"]: s for s in project.json("plan", "--set", "evaluate.resamples=300")["steps"]}
    # The champion is judged on the same terms as its challenger, so its evaluation follows the edit too.
    assert {name for name, s in planned.items() if s["action"] == "run"} == {"evaluate", "evaluate-champion"}
    assert planned["evaluate"]["why"] == ["evaluate.resamples changed: 200 → 300"]
    planned = {s["name"]: s for s in project.json("plan", "--set", "train.seed=8")["steps"]}
    assert planned["data"]["action"] == "cached"
    assert planned["train"]["why"] == ["train.seed changed: 7 → 8"]
    assert planned["bundle"]["why"][0] == "waits for optimize, train, which will run"


def test_a_refused_gate_is_exit_code_3_and_changes_nothing_that_serves(project: Project, first: dict[str, Any], key: str) -> None:
    refused = project.json("run", "--set", "gates=[accuracy >= 0.999]", code=3)
    assert refused["status"] == "refused"
    assert refused["gates"][0]["passed"] is False
    assert ask(first, key, "Open a file.")["data"]


def test_bad_input_is_exit_code_2_with_its_line(project: Project) -> None:
    bad = project.folder / "bad.yaml"
    bad.write_text(CLASSIFY.replace("optimize:", "optimise:").replace("steps: 24", "steps: many"))
    with project.start("run", "bad.yaml") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "bad.yaml:9:1" in err
    assert "did you mean 'optimize'" in err
    assert "bad.yaml:8:" in err


def test_a_version_is_swapped_under_load_and_rolled_back_with_no_failed_request(
    project: Project, first: dict[str, Any], key: str, tmp_path: Path
) -> None:
    # Built before the load begins: what is under test is the switch, not training on a busy machine.
    project.json("run", "--set", "train.seed=8", "--no-deploy")
    with load_on(first, key, tmp_path) as seen:
        second = project.json("run", "--set", "train.seed=8")
        assert second["model"]["version"] == 2
        assert second["model"]["digest"] != first["model"]["digest"]
        assert second["gates"][1]["evidence"]["rows"] > 200
        back = project.json("rollback", "docs")
        time.sleep(0.5)
    assert back["version"] == 1
    assert seen["failures"] == 0, seen
    assert seen["requests"] > 50
    assert set(seen["versions"]) == {"1", "2"}
    assert [row["version"] for row in project.json("deployments", "live", "docs")["live"]] == [1]
    history = project.json("deployments", "show", "docs")["history"]
    assert [entry["live"][0]["version"] for entry in history] == [1, 2, 1]


def test_a_killed_replica_is_replaced_and_its_requests_are_answered_elsewhere(
    project: Project, first: dict[str, Any], key: str, tmp_path: Path
) -> None:
    before = {r["id"] for r in project.json("deploy", "docs", "1", "--replicas", "2")["replicas"] if r["phase"] == "ready"}
    assert len(before) == 2
    with load_on(first, key, tmp_path) as seen:
        kill_one_replica(project)
        deadline, ready = time.monotonic() + 60, set()
        while not (len(ready) == 2 and ready != before) and time.monotonic() < deadline:
            time.sleep(0.3)
            row = project.json("deployments")["deployments"][0]
            ready = {r["id"] for r in row["replicas"] if r["phase"] == "ready"}
    assert len(ready) == 2
    assert ready != before
    assert seen["failures"] == 0, seen
    assert seen["requests"] > 50


@contextlib.contextmanager
def load_on(result: dict[str, Any], key: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Requests from a process of its own while the block runs; its summary fills the yielded dict when the block is left."""
    until, summary = folder / "stop", {}
    body = json.dumps({"model": "docs", "input": "Return the square root of a number."})
    target = ["--url", result["deployment"]["url"], "--key", key, "--path", "/v1/classify", "--body", body]
    command = [sys.executable, "-m", "penstock.testing.load", *target, "--concurrency", "4", "--until", str(until)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        try:
            time.sleep(0.5)
            yield summary
        finally:
            until.touch()
            out, _ = client.communicate(timeout=60)
    summary.update(json.loads(out))


def kill_one_replica(project: Project) -> None:
    """By its pid in the replica's own ready file."""
    folder = project.folder / ".penstock" / "replicas" / "docs"
    pids = [json.loads(path.read_text()).get("pid") for path in folder.glob("*/ready.json")]
    alive = [pid for pid in pids if pid and Path(f"/proc/{pid}").exists()]
    assert alive
    os.kill(alive[-1], signal.SIGKILL)


def test_the_gateway_serves_while_the_control_process_is_gone(project: Project, first: dict[str, Any], key: str) -> None:
    pid = project.json("status")["control"]["pid"]
    os.kill(pid, signal.SIGKILL)
    assert ask(first, key, "Open a file.")["data"]
    project.penstock("up")
    assert project.json("status")["control"]["pid"] != pid
    assert project.json("status")["gateway"]["port"] == int(first["deployment"]["url"].rpartition(":")[2])


@pytest.mark.thorough
def test_kill_9_in_training_then_run_again_gives_the_same_digests(first: dict[str, Any], make_project: Any) -> None:
    other: Project = make_project(CLASSIFY.replace("checkpoint_every: 1s", "checkpoint_every: 0.2s"))
    killed = 0
    for wait_s in (0.1, 0.6):
        with other.start("run", "--no-deploy") as process:
            deadline = time.monotonic() + 120
            while not checkpoints(other) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(wait_s)
            if process.poll() is None:
                killed += 1
                process.kill()
            process.communicate()
    again = other.json("run", "--no-deploy")
    assert killed >= 1
    assert again["status"] == "succeeded"
    assert digests(again, *MODEL_SIDE) == digests(first, *MODEL_SIDE)


def checkpoints(project: Project) -> list[Path]:
    return [p for p in (project.folder / ".penstock" / "jobs").glob("*/scratch/*") if p.stat().st_size or p.is_dir()]


def test_a_damaged_artifact_is_found_by_its_digest_and_built_again(project: Project, first: dict[str, Any]) -> None:
    store = project.folder / ".penstock" / "artifacts"
    manifest = next(p for p in store.rglob("*") if p.is_file() and digests(first, "bundle")["bundle"][9:] in p.name)
    blob = max(json.loads(manifest.read_bytes())["files"], key=lambda f: int(f[1]))[2].partition(":")[2]
    place = next(p for p in store.rglob("*") if p.is_file() and blob[2:] in p.name)
    place.chmod(0o644)
    with place.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0penstock\0")
    again = project.json("run", "--no-deploy", "--set", "evaluate.resamples=250")
    assert again["status"] == "succeeded"
    assert digests(again, "bundle") == digests(first, "bundle")
    assert {s["name"] for s in again["steps"] if s["phase"] == "succeeded"} >= {"evaluate"}


@pytest.mark.usefixtures("first")
def test_audit_names_the_row_that_was_tampered_with(project: Project) -> None:
    assert project.json("audit", "verify")["entries"] >= 4
    with sqlite3.connect(project.folder / ".penstock" / "penstock.db") as database:
        row = database.execute("select seq, action from audit order by seq limit 1 offset 1").fetchone()
        database.execute("update audit set subject = 'somebody else' where seq = ?", (row[0],))
    database.close()
    with project.start("audit", "verify") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert str(row[0]) in out + err
