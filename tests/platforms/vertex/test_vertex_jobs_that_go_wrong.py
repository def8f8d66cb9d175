"""What the service does to jobs beside running them: faults, refusals, capacity, spot machines that go, sessions that end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.core.errors import PenstockError, PlatformDenied, PlatformFull, PlatformLacks
from penstock.core.home import Home
from penstock.platforms.contract import JobState
from penstock.platforms.remote.cluster_spec import told_by_cluster
from penstock.platforms.remote.jobs import RemoteJobs, name_of
from penstock.platforms.vertex.driver import CustomJobs
from penstock.platforms.vertex.google import Google
from penstock.platforms.vertex.platform import VERTEX
from penstock.platforms.vertex.settings import settings_of
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.vertex import VertexAI
from penstock.testing.emulators.vertex import jobs as emulated_jobs
from penstock.testing.emulators.vertex.jobs import KIND, State
from penstock.testing.emulators.vertex.project import Project
from penstock.testing.jobs_suite import ended, until, user_job
from penstock.testing.several_machines import job_of, value_of
from penstock.testing.wrong_jobs_suite import QUICK, WrongJobsConformance, check_refused


@pytest.fixture
def jobs(cloud: VertexAI, place: tuple[Home, Artifacts]) -> RemoteJobs:
    made = VERTEX.jobs(*place, cloud.section())
    made.poll_s = 0.05
    driver_of(made).google.patience = QUICK
    return made


def driver_of(jobs: RemoteJobs) -> CustomJobs:
    assert isinstance(jobs.driver, CustomJobs)
    return jobs.driver


class TestWrongJobs(WrongJobsConformance):
    """The service has no token by which a second call is the first one again."""

    platform, kind, creates, looks = VERTEX, KIND, ("CreateCustomJob",), "ListCustomJobs"
    signed_out_says = ("invalid authentication", "gcloud auth")
    full_says, image_says, exit_says = "Resources are insufficient in region", "Failed to pull image", "non-zero status of 1"

    def state(self, cloud: VertexAI) -> Project:
        return cloud.here

    @contextmanager
    def signed_out(self, cloud: VertexAI, look: Callable[[], JobState]) -> Iterator[None]:  # noqa: ARG002 (a new token is fetched)
        cloud.here.identities.tokens.clear()
        yield

    def exhaust(self, state: Project) -> None:
        state.dry.add("n1-standard-4")

    def take_away(self, cloud: VertexAI, name: str) -> None:
        cloud.take_away(cloud.job(name))


def test_a_lost_request_makes_one_job(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.here.faults.plan("lose_request", "CreateCustomJob")
    assert ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 4}))).phase == "succeeded"
    assert len(cloud.here.of(KIND)) == 1


def test_jobs_are_listed_over_all_pages(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.here.start_s = 1000.0  # nothing starts: this is about rows
    for number in range(12):
        jobs.submit(user_job(tmp_path / "code", "wait", {"number": number}))
    rows = driver_of(jobs).google.rows("JobService.ListCustomJobs", {"parent": cloud.here.parent, "page_size": 5})
    assert len({row.name for row in rows}) == 12


def test_of_twins_one_stays(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    """The answer to the first call is lost, and the list does not show yet what it made."""
    cloud.here.faults.plan("lose_answer", "CreateCustomJob")
    cloud.here.faults.plan("unseen", "ListCustomJobs", times=2)
    handle = jobs.submit(user_job(tmp_path / "code", "wait", {"number": 1}))
    assert len(cloud.here.of(KIND)) == 2
    assert jobs.observe(handle).phase == "running"
    states = [job.row.state for job in cloud.here.of(KIND).values()]
    assert states[0] == State.JOB_STATE_RUNNING
    assert states[1] in (State.JOB_STATE_CANCELLING, State.JOB_STATE_CANCELLED)
    jobs.cancel(handle)
    assert ended(jobs, handle).phase == "cancelled"


def deny(cloud: VertexAI, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 (one of a family)
    cloud.here.identities.denied.add("CreateCustomJob")


def disable(cloud: VertexAI, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    cloud.here.identities.disabled = True


def unknown(cloud: VertexAI, monkeypatch: pytest.MonkeyPatch) -> None:
    key = cloud.key.with_name("another.json")
    key.write_text(cloud.key.read_text().replace("penstock@", "nobody@"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))


def signed_out(cloud: VertexAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(cloud.key.with_name("nothing.json")))


def untrusted(cloud: VertexAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud.here, "accounts", set())


def crowded(cloud: VertexAI, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    cloud.here.quotas["custom_model_training_cpus"] = 2


@pytest.mark.parametrize(
    ("how", "kind", "says", "way_out"),
    [
        (deny, PlatformDenied, "Permission 'aiplatform.CreateCustomJob' denied", "roles/aiplatform.user"),
        (disable, PlatformDenied, "it is disabled", "gcloud services enable"),
        (unknown, PlatformDenied, "account not found", "GOOGLE_APPLICATION_CREDENTIALS"),
        (signed_out, PlatformDenied, "nothing.json", "gcloud auth"),
        (untrusted, PlatformDenied, "act as service_account", "serviceAccountUser"),
        (crowded, PlatformFull, "custom_model_training_cpus", "Quotas"),
    ],
)
def test_refusals_say_the_way_out(
    cloud: VertexAI,
    place: tuple[Home, Artifacts],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[[VertexAI, pytest.MonkeyPatch], None],
    kind: type[PenstockError],
    says: str,
    way_out: str,
) -> None:
    jobs = VERTEX.jobs(*place, cloud.section(service_account="penstock@penstock-emulated.iam.gserviceaccount.com"))
    how(cloud, monkeypatch)
    check_refused(jobs, user_job(tmp_path / "code", "double", {"number": 4}), kind, says, way_out)


def test_a_job_waits_in_line_for_quota(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.here.quotas["custom_model_training_cpus"] = 4
    first = jobs.submit(user_job(tmp_path / "code", "wait", {"number": 1}))
    second = jobs.submit(user_job(tmp_path / "code", "double", {"number": 2}))
    assert jobs.observe(second).phase == "pending"
    jobs.cancel(first)
    assert ended(jobs, first).phase == "cancelled"
    assert ended(jobs, second).phase == "succeeded"


def test_spot_machines_that_go_again_and_again(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated_jobs, "RESTARTS", 1)
    job = user_job(tmp_path / "code", "wait", {"number": 3}, spot=True)
    handle = jobs.submit(job)
    for life in range(2):
        until(lambda life=life: jobs.observe(handle).phase == "running" and cloud.job(name_of(job, 0)).life == life)
        cloud.take_away(cloud.job(name_of(job, 0)), warned=False)
    state = ended(jobs, handle)
    assert ((state.error or {})["code"], (state.error or {})["transient"]) == ("platform-full", True)


def test_logs_that_may_not_be_read_are_no_error(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.here.identities.denied.add("ListLogEntries")
    job = user_job(tmp_path / "code", "double", {"number": 1})
    jobs.submit(job)
    assert driver_of(jobs).tail(name_of(job, 0)) == []


def test_several_machines_meet_by_cluster_spec() -> None:
    cluster = {"workerpool0": ["chief:2222"], "workerpool1": ["one:2222", "two:2222"]}
    told = {"CLUSTER_SPEC": json.dumps({"cluster": cluster, "task": {"type": "workerpool1", "index": 1}})}
    found = told_by_cluster(told)
    assert found == {"PET_NNODES": "3", "PET_NODE_RANK": "2", "PET_MASTER_ADDR": "chief", "PET_MASTER_PORT": "2222"}
    assert (
        told_by_cluster({"CLUSTER_SPEC": json.dumps({"cluster": {"workerpool0": ["a:1"]}, "task": {"type": "workerpool0", "index": 0}})})
        == {}
    )
    assert told_by_cluster({}) == {}


def test_two_processes_on_each_of_two_machines_run_one_step(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    job = job_of(tmp_path / "code", "meet", 2, processes=2)
    state = ended(jobs, jobs.submit(job))
    assert state.phase == "succeeded", state.error
    assert value_of(jobs.artifacts, job) == b"46"
    assert [f"{pool}-{index}" for pool, index, _ in cloud.job(name_of(job, 0)).workers()] == ["workerpool0-0", "workerpool1-0"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"machine_type": "n1-standard-3"}, 'Machine type "n1-standard-3" is not supported'),
        ({"machine_type": "n1-standard-8", "accelerator_type": "NVIDIA_L4", "accelerator_count": 1}, "cannot be attached"),
        ({"machine_type": "g2-standard-8"}, "needs accelerator NVIDIA_L4"),
        ({"machine_type": "n1-standard-8", "accelerator_type": "NVIDIA_TESLA_T4"}, "set together"),
    ],
)
def test_the_emulator_is_strict(cloud: VertexAI, change: dict[str, object], says: str) -> None:
    google = Google(settings_of(cloud.section()))
    pool = {"machine_spec": change, "replica_count": 1, "container_spec": {"image_uri": cloud.section()["image"]}}
    job = {"display_name": "x", "job_spec": {"worker_pool_specs": [pool]}}
    with pytest.raises(PenstockError, match=says):
        google.call("JobService.CreateCustomJob", {"parent": cloud.here.parent, "custom_job": job})
    with pytest.raises(PenstockError, match="display_name; Message: Required"):
        google.call("JobService.CreateCustomJob", {"parent": cloud.here.parent, "custom_job": {"job_spec": job["job_spec"]}})
    with pytest.raises(PenstockError, match="not a location of this endpoint"):
        google.call("JobService.CreateCustomJob", {"parent": "projects/x/locations/y", "custom_job": job})


def test_what_it_cannot_do_is_refused_while_planning(cloud: VertexAI, tmp_path: Path) -> None:
    quote = VERTEX.quote(user_job(tmp_path / "code", "double", {"number": 1}, cpus=8.0, spot=True), cloud.section())
    assert (quote.machine, quote.spot, quote.usd_per_h, quote.prices_of) == ("n1-standard-8", True, 0.4369977, "2026-10-07")
    where = "projects/penstock-emulated/locations/europe-west4"
    call = f"JobService.CreateCustomJob double: 1 × n1-standard-8, spot, at most 24 h 0 min, in {where}"
    assert quote.calls == (call,)
    tpu = VERTEX.quote(user_job(tmp_path / "code", "double", {"number": 1}, gpus=4, gpu_type="tpu-v5e"), cloud.section())
    assert (tpu.machine, tpu.usd_per_h) == ("ct5lp-hightpu-4t", None)
    for more, says in (({"gpu_type": "tpu-v5e", "gpus": 4, "nodes": 2}, "slices"), ({"timeout_s": 3e6}, "7 at most")):
        with pytest.raises(PlatformLacks, match=says):
            VERTEX.quote(user_job(tmp_path / "code", "double", {"number": 1}, **more), cloud.section())
