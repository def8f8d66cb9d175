"""What warm workers promise: edited code is seen, output is logged, environments are built, nothing heavy is imported early."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.core.digests import digest_file, digest_json
from penstock.core.home import Home
from penstock.platforms.contract import JobSpec
from penstock.platforms.local.jobs import LocalJobs
from penstock.store.artifacts import Artifacts
from penstock.testing.jobs_suite import ended


def opened(place: Path) -> tuple[LocalJobs, Artifacts]:
    home = Home.find(place, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    return LocalJobs(home, artifacts, workers=1, grace_s=1.0), artifacts


def job(place: Path, source: str, number: int, **more: object) -> JobSpec:
    """A job of `step(number)` in a module of this source."""
    code = place / "code"
    code.mkdir(exist_ok=True)
    (code / "warm_steps.py").write_text(source)
    config = {"uses": "warm_steps:step", "values": {"number": number}, "inputs": {}, "code": {}}
    return JobSpec(digest_json([source, number]), "run-1", "step", "user", config, code_path=(str(code),), **more)


def value(artifacts: Artifacts, jobs: LocalJobs, spec: JobSpec) -> str:
    state = ended(jobs, jobs.submit(spec), 120)
    assert state.phase == "succeeded", state.error
    return (artifacts.materialize(state.result.outputs["value"]) / "value.json").read_text()


def test_edited_code_is_seen_by_a_warm_worker(tmp_path: Path) -> None:
    jobs, artifacts = opened(tmp_path)
    seen = [value(artifacts, jobs, job(tmp_path, f"def step(number: int) -> int:\n    return {n}\n", 0)) for n in range(1, 6)]
    assert seen == ["1", "2", "3", "4", "5"]
    assert len(jobs._pool._workers) == 1
    jobs.close()


def test_everything_printed_is_in_the_log(tmp_path: Path) -> None:
    jobs, _ = opened(tmp_path)
    source = (
        "import os, sys, subprocess\n"
        "def step(number: int) -> None:\n"
        "    print('from python')\n"
        "    print('to stderr', file=sys.stderr)\n"
        "    subprocess.run(['echo', 'from a child'])\n"
        "    os.write(1, b'from a descriptor\\n')\n"
        "    os.write(1, b'no end of line')\n"
    )
    handle = jobs.submit(job(tmp_path, source, 1))
    assert ended(jobs, handle).phase == "succeeded"
    page = jobs.logs(handle)
    assert sorted(page.lines) == sorted(["from python", "to stderr", "from a child", "from a descriptor"])
    jobs.close()


def test_idle_worker_has_imported_nothing_heavy(tmp_path: Path) -> None:
    jobs, artifacts = opened(tmp_path)
    heavy = "{'torch', 'sqlalchemy', 'polars', 'psutil'}"
    source = f"import sys\ndef step(number: int) -> list[str]:\n    return sorted({heavy} & set(sys.modules))\n"
    assert value(artifacts, jobs, job(tmp_path, source, 1)) == "[]"
    jobs.close()


def test_warm_worker_has_imported_ahead(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    jobs, artifacts = opened(tmp_path)
    jobs.warm(["data"])
    source = "import sys\ndef step(number: int) -> bool:\n    return 'polars' in sys.modules\n"
    assert value(artifacts, jobs, job(tmp_path, source, 1)) == "true"
    jobs.close()


def wheel(folder: Path, version: str, module: str = "penstock_probe.py") -> None:
    """A real wheel of a package that exists nowhere else."""
    folder.mkdir(exist_ok=True)
    info = f"penstock_probe-{version}.dist-info"
    with zipfile.ZipFile(folder / f"penstock_probe-{version}-py3-none-any.whl", "w") as file:
        file.writestr(module, f"version = {version!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: penstock-probe\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"{module},,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


def test_step_runs_in_its_own_environment_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path / "wheels", "1.5")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    jobs, artifacts = opened(tmp_path)
    source = "import penstock_probe, pydantic\ndef step(number: int) -> str:\n    return penstock_probe.version\n"
    pins = ("penstock-probe==1.5",)
    assert value(artifacts, jobs, job(tmp_path, source, 1, environment=pins)) == '"1.5"'
    made = [p.name for p in (tmp_path / ".penstock" / "environments").iterdir() if not p.name.startswith(".")]
    assert value(artifacts, jobs, job(tmp_path, source, 2, environment=pins)) == '"1.5"'
    assert [p.name for p in (tmp_path / ".penstock" / "environments").iterdir() if not p.name.startswith(".")] == made
    without = ended(jobs, jobs.submit(job(tmp_path, source, 3)))
    assert without.error["type"] == "ModuleNotFoundError"
    jobs.close()


def test_environment_that_breaks_penstock_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path / "wheels", "2.0", "penstock/__init__.py")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    jobs, _ = opened(tmp_path)
    state = ended(jobs, jobs.submit(job(tmp_path, "def step(number: int) -> None: ...", 1, environment=("penstock-probe==2.0",))), 60)
    assert state.phase == "failed"
    assert "could not start" in state.error["message"]
    assert "No module named" in state.error["message"]
    jobs.close()


def test_log_of_an_earlier_attempt_is_kept_aside(tmp_path: Path) -> None:
    jobs, _ = opened(tmp_path)
    spec = job(tmp_path, "def step(number: int) -> None:\n    print('first try')\n    number // 0\n", 1)
    assert ended(jobs, jobs.submit(spec)).phase == "failed"
    assert ended(jobs, jobs.submit(replace(spec, run="run-2"))).phase == "failed"
    logs = list((tmp_path / ".penstock" / "jobs").glob("*/1*/log"))
    assert [log.read_text() for log in logs] == ["first try\n", "first try\n"]
    jobs.close()


def test_environment_that_cannot_be_built_says_what_pip_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    jobs, _ = opened(tmp_path)
    state = ended(jobs, jobs.submit(job(tmp_path, "def step(number: int) -> None: ...", 1, environment=("penstock-nowhere==9.9",))), 60)
    assert state.phase == "failed"
    assert "penstock-nowhere==9.9" in state.error["message"]
    assert "No matching distribution" in state.error["message"]
    assert not list((tmp_path / ".penstock" / "environments").glob("[!.]*"))
    jobs.close()


def test_code_that_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    jobs, _ = opened(tmp_path)
    spec = job(tmp_path, "def step(number: int) -> int:\n    return 1\n", 1)
    file = tmp_path / "code" / "warm_steps.py"
    config = {**spec.config, "code": {"warm_steps": digest_file(file)}}
    file.write_text("def step(number: int) -> int:\n    return 2\n")
    planned = JobSpec(spec.key, spec.run, spec.step, spec.stage, config, code_path=spec.code_path)
    state = ended(jobs, jobs.submit(planned))
    assert state.error["code"] == "bad-input"
    assert "changed since the plan" in state.error["message"]
    jobs.close()


def test_opening_local_jobs_starts_nothing_and_imports_little() -> None:
    code = "import sys, penstock.platforms.local.worker; print(sorted({'torch','sqlalchemy','pydantic','fsspec'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_builder_that_breaks_ends_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("nobody thought of this")

    jobs, _ = opened(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("penstock.platforms.local.jobs.build", broken)
        state = ended(jobs, jobs.submit(job(tmp_path, "def step(number: int) -> None: ...", 1, environment=("penstock-probe==3.0",))))
    assert state.phase == "failed"
    assert "nobody thought of this" in state.error["message"]
    jobs.close()
