"""`execute` and `penstock exec`: verified inputs, outputs and marker or nothing, scratch kept only for those who need it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.digests import digest_file, digest_folder, digest_json
from penstock.core.errors import ArtifactCorrupt, BadInput, FileProblems, PenstockError, SourceUnreadable
from penstock.core.home import Home
from penstock.platforms.contract import JobResult, JobSpec, JobState
from penstock.platforms.execute import execute
from penstock.platforms.external import known_digest, verified
from penstock.platforms.failures import describe, is_transient
from penstock.platforms.handed import Caller, folder_of
from penstock.platforms.jobs_codec import (
    finished,
    job_from_json,
    job_to_json,
    marker_of,
    publish,
    split_uri,
    state_from_json,
    state_to_json,
)
from penstock.platforms.log_lines import LineWriter, parse, render
from penstock.store.artifacts import Artifacts
from penstock.testing.jobs_suite import user_job

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.find(tmp_path, {})


@pytest.fixture
def artifacts(home: Home) -> Artifacts:
    return Artifacts(home.artifacts_url, home.cache)


def ran(job: JobSpec, artifacts: Artifacts, home: Home, events: list[Any] | None = None) -> JobResult:
    heard: list[Any] = [] if events is None else events
    return execute(job, artifacts, home, Caller(heard.append, lambda: False))


@given(st.text(), JSON, st.dictionaries(st.text(), st.text()), st.lists(st.text()), st.none() | st.floats(0.1, 1e6))
def test_jobs_survive_json(step: str, value: Any, inputs: dict[str, str], pins: list[str], timeout_s: float | None) -> None:
    key = digest_json([step])
    job = JobSpec(key, "run", step, "user", {"values": value}, inputs, {}, ("/a",), tuple(pins), timeout_s, 5, 1.5, 0, 3)
    assert job_from_json(json.loads(json.dumps(job_to_json(job)))) == job


def test_states_survive_json() -> None:
    result = JobResult("sha256:" + "1" * 64, {"value": "sha256:" + "2" * 64}, {"accuracy": 0.5}, 1.25)
    for state in (JobState("pending"), JobState("succeeded", result, None, 1.0, 2.0, 4096), JobState("failed", error={"code": "x"})):
        assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state


def test_unknown_field_of_a_job_is_refused() -> None:
    with pytest.raises(BadInput, match="colour"):
        job_from_json({**job_to_json(JobSpec("k", "r", "s", "user", {})), "colour": "red"})


def test_failed_step_leaves_scratch_but_no_output_and_no_marker(tmp_path: Path, home: Home, artifacts: Artifacts) -> None:
    source = (
        "from penstock.stages.user.types import Context, Output\n"
        "def step(made: Output, context: Context) -> None:\n"
        "    (context.scratch / 'kept').touch()\n"
        "    (made / 'half').touch()\n"
        "    raise RuntimeError('in the middle')\n"
    )
    (tmp_path / "half_steps.py").write_text(source)
    config = {"uses": "half_steps:step", "values": {}, "inputs": {}, "code": {}}
    job = JobSpec(digest_json(config), "run", "half", "user", config, code_path=(str(tmp_path),))
    with pytest.raises(RuntimeError, match="in the middle"):
        ran(job, artifacts, home)
    assert finished(job.key, artifacts) is None
    assert (folder_of(home, job.key) / "scratch" / "kept").exists()
    assert not (folder_of(home, job.key) / "staging").exists()
    (tmp_path / "half_steps.py").write_text(source.replace("    raise RuntimeError('in the middle')\n", ""))
    assert set(ran(job, artifacts, home).outputs) == {"made"}
    assert not (folder_of(home, job.key) / "scratch").exists()


def test_marker_without_its_outputs_is_built_again(tmp_path: Path, home: Home, artifacts: Artifacts) -> None:
    job = user_job(tmp_path / "code", "double", {"number": 8})
    first = ran(job, artifacts, home)
    artifacts.drop(first.outputs["value"])
    assert finished(job.key, artifacts) is None
    assert ran(job, artifacts, home).outputs == first.outputs
    assert artifacts.has(first.outputs["value"])


def test_corrupt_input_is_refused(tmp_path: Path, home: Home, artifacts: Artifacts) -> None:
    made = ran(user_job(tmp_path / "code", "double", {"number": 9}), artifacts, home).outputs["value"]
    for path in Path(home.folder).rglob("*"):
        if path.is_file() and path.read_bytes() == b"18":
            path.chmod(0o644)
            path.write_bytes(b"19")
    job = user_job(tmp_path / "code", "double", {})
    job = replace(job, config={**job.config, "inputs": {"number": "other"}}, inputs={"number": made})
    with pytest.raises(ArtifactCorrupt):
        ran(job, Artifacts(home.artifacts_url, home.cache), home)


def test_value_of_one_step_is_the_argument_of_the_next(tmp_path: Path, home: Home, artifacts: Artifacts) -> None:
    made = ran(user_job(tmp_path / "code", "double", {"number": 9}), artifacts, home).outputs["value"]
    job = user_job(tmp_path / "code", "double", {})
    job = replace(job, config={**job.config, "inputs": {"number": "first"}}, inputs={"number": made})
    result = ran(job, artifacts, home)
    assert (artifacts.materialize(result.outputs["value"]) / "value.json").read_bytes() == b"36"


def test_wrong_config_names_the_field(home: Home, artifacts: Artifacts) -> None:
    with pytest.raises(FileProblems, match="colour"):
        ran(
            JobSpec(digest_json("x"), "r", "s", "user", {"uses": "a:b", "values": {}, "inputs": {}, "code": {}, "colour": 1}),
            artifacts,
            home,
        )


def test_external_bytes_are_verified_and_remembered(tmp_path: Path) -> None:
    file, cache = tmp_path / "train.csv", tmp_path / "cache"
    file.write_text("text,label\na,b\n")
    digest = digest_file(file)
    assert verified(digest, str(file), cache) == file
    assert verified(digest, file.as_uri(), cache) == file
    file.write_text("text,label\na,c\n")
    with pytest.raises(BadInput, match="changed since the plan"):
        verified(digest, str(file), cache)
    file.unlink()
    with pytest.raises(SourceUnreadable, match="does not exist"):
        verified(digest, str(file), cache)


def test_digest_from_memory_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "base"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_bytes(b"w" * 1000)
    first = known_digest(folder, tmp_path / "cache")
    assert first == digest_folder(folder)
    monkeypatch.setattr("penstock.platforms.external.digest_folder", lambda _: pytest.fail("computed twice"))
    assert known_digest(folder, tmp_path / "cache") == first
    (folder / "deep" / "weights").write_bytes(b"v" * 1000)
    with pytest.raises(BaseException, match="computed twice"):
        known_digest(folder, tmp_path / "cache")


def test_fetched_url_is_verified(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://sources/rows.csv", "wb") as file:
        file.write(b"a,b\n")
    (tmp_path / "same").write_bytes(b"a,b\n")
    digest = digest_file(tmp_path / "same")
    assert verified(digest, "memory://sources/rows.csv", tmp_path / "cache").read_bytes() == b"a,b\n"
    with pytest.raises(BadInput, match="planned"):
        verified("sha256:" + "0" * 64, "memory://sources/rows.csv", tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_errors_are_told_with_their_place_and_kind() -> None:
    try:
        int("x")
    except ValueError as error:
        told = describe(error, [str(Path(__file__).parent)])
    assert told["type"] == "ValueError"
    assert "test_execute.py" in told["where"]
    assert told["trace"][-1].startswith("ValueError")
    assert [is_transient(e) for e in (ConnectionResetError(), TimeoutError(), OSError(11, "again"), OSError(2, "no"), ValueError())] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert describe(OSError(28, "full"))["code"] == "disk-full"
    assert describe(MemoryError())["code"] == "step-memory"


def test_structured_lines_are_batched_and_read_back() -> None:
    wrote: list[bytes] = []
    lines = LineWriter(wrote.append)
    for step in range(1000):
        lines({"point": {"name": "loss", "value": float("nan") if step == 3 else 0.5, "step": step, "at": 1.0}})
        lines({"progress": {"done": step, "total": None, "unit": "rows", "facts": {}, "at": 1.0}})
    lines.close()
    text = b"".join(wrote).decode()
    events = [parse(line) for line in text.splitlines()]
    assert [e["point"]["step"] for e in events if "point" in e] == list(range(1000))
    assert len(wrote) < 100
    assert parse("::penstock {cut") is None
    assert parse("plain") is None
    assert render({"log": {"message": "one\ntwo"}}).count("\n") == 1


def penstock_exec(uri: str, place: Path, *more: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from penstock.cli.main import main; sys.exit(main())"
    environ = {**os.environ, "PENSTOCK_HOME": str(place / ".penstock")}
    return subprocess.run([sys.executable, "-c", code, "exec", uri, *more], capture_output=True, text=True, env=environ, check=False)


def test_exec_runs_a_published_job(tmp_path: Path, home: Home, artifacts: Artifacts) -> None:
    job = user_job(tmp_path / "code", "measure", {"number": 4})
    uri = publish(job, artifacts, home.artifacts_url)
    assert split_uri(uri)[0] == home.artifacts_url
    done = penstock_exec(uri, tmp_path)
    assert done.returncode == 0, done.stderr
    assert any((parse(line) or {}).get("point") for line in done.stdout.splitlines())
    assert finished(job.key, artifacts).metrics == {"number": 4.0}
    again = penstock_exec(uri, tmp_path, "--json")
    assert json.loads(again.stdout)["metrics"] == {"number": 4.0}


def test_exec_tells_errors_by_exit_code(tmp_path: Path, home: Home, artifacts: Artifacts) -> None:
    failing = penstock_exec(publish(user_job(tmp_path / "code", "fail", {"number": 1}), artifacts, home.artifacts_url), tmp_path)
    assert failing.returncode == 1
    assert "ZeroDivisionError" in failing.stderr
    assert penstock_exec("file:///nowhere", tmp_path).returncode == 2
    missing = penstock_exec(f"{home.artifacts_url}#{marker_of(digest_json('none')).replace('.result', '')}", tmp_path)
    assert missing.returncode == 2
    assert "no job at" in missing.stderr


def test_every_error_can_be_told() -> None:
    assert describe(PenstockError("x"))["remedy"]
