"""Steps on several machines: SageMaker's file says who they are, they meet, and the first one's result stands."""

from __future__ import annotations

from pathlib import Path

from penstock.core.home import Home
from penstock.platforms.remote.hosts_file import told_by_file
from penstock.platforms.sagemaker.platform import SAGEMAKER
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.jobs_suite import ended
from penstock.testing.several_machines import job_of, value_of


def test_they_meet_and_the_first_ones_result_stands(cloud: SageMaker, place: tuple[Home, Artifacts], tmp_path: Path) -> None:
    jobs, job = SAGEMAKER.jobs(*place, cloud.section()), job_of(tmp_path / "code", "meet", 2, processes=2)
    state = ended(jobs, jobs.submit(job), 60)
    assert state.phase == "succeeded", state.error
    assert value_of(place[1], job) == b"46"


def test_one_that_fails_ends_all_and_says_why(cloud: SageMaker, place: tuple[Home, Artifacts], tmp_path: Path) -> None:
    jobs = SAGEMAKER.jobs(*place, cloud.section())
    state = ended(jobs, jobs.submit(job_of(tmp_path / "code", "break_second", 2)), 60)
    assert state.phase == "failed"
    assert "10 is too much for me" in str((state.error or {})["message"])


def test_the_file_of_one_machine_says_nothing(tmp_path: Path) -> None:
    environ = {"SAGEMAKER_BASE_DIR": str(tmp_path)}
    assert told_by_file(environ) == {}
    (tmp_path / "input" / "config").mkdir(parents=True)
    file = tmp_path / "input" / "config" / "resourceconfig.json"
    file.write_text('{"current_host": "algo-1", "hosts": ["algo-1"]}')
    assert told_by_file(environ) == {}
    file.write_text('{"current_host": "algo-2", "hosts": ["algo-2", "algo-1"]}')
    told = {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "algo-1", "PET_MASTER_PORT": "29400"}
    assert told_by_file(environ) == told
    assert told_by_file({**environ, **told}) == {}
