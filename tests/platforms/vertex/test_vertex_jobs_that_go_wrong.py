"""What the service does to jobs beside running them: faults, refusals, capacity, spot machines that go, sessions that end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.core.errors import PenstockError, PlatformAway, PlatformDenied, PlatformFull, PlatformLacks
from penstock.core.home import Home
from penstock.platforms.remote.cluster_spec import told_by_cluster
from penstock.platforms.remote.jobs import RemoteJobs, name_of
from penstock.platforms.remote.retrying import Patience
from penstock.platforms.vertex.driver import CustomJobs
from penstock.platforms.vertex.google import Google
from penstock.platforms.vertex.platform import VERTEX
from penstock.platforms.vertex.settings import settings_of
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.vertex import VertexAI
from penstock.testing.emulators.vertex import jobs as emulated_jobs
from penstock.testing.emulators.vertex.jobs import KIND, State
from penstock.testing.jobs_suite import ended, until, user_job

QUICK = Patience(attempts=4, first_s=0.01, longest_s=0.02)


@pytest.fixture
def jobs(cloud: VertexAI, place: tuple[Home, Artifacts]) -> RemoteJobs:
    made = VERTEX.jobs(*place, cloud.section())
    made.poll_s = 0.05
    driver_of(made).google.patience = QUICK
    return made


def driver_of(jobs: RemoteJobs) -> CustomJobs:
    assert isinstance(jobs.driver, CustomJobs)
    return jobs.driver


@pytest.mark.parametrize("kind", ["lose_answer", "lose_request"])
def test_a_lost_answer_makes_no_second_job(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path, kind: str) -> None:
    """The service has no token by which a second call is the first one again."""
    cloud.here.faults.plan(kind, "CreateCustomJob")  # type: ignore[arg-type]
    assert ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 4}))).phase == "succeeded"
    assert len(cloud.here.of(KIND)) == 1


@pytest.mark.parametrize("kind", ["throttle", "internal", "lose_request"])
def test_what_may_pass_is_asked_again_and_then_told(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path, kind: str) -> None:
    cloud.here.faults.plan(kind, "CreateCustomJob", times=3)  # type: ignore[arg-type]
    handle = jobs.submit(user_job(tmp_path / "code", "wait", {"number": 1}))
    cloud.here.faults.plan(kind, "ListCustomJobs", times=4)  # type: ignore[arg-type]
    with pytest.raises(PlatformAway):
        jobs.observe(handle)
    assert jobs.observe(handle).phase in ("pending", "running")
    jobs.cancel(handle)
    assert ended(jobs, handle).phase == "cancelled"


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


def test_a_token_that_ends_while_a_job_runs(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    handle = jobs.submit(user_job(tmp_path / "code", "double", {"number": 4}))
    cloud.here.identities.tokens.clear()
    with pytest.raises(PlatformDenied, match="invalid authentication") as told:
        jobs.observe(handle)
    assert "gcloud auth" in told.value.way_out
    assert ended(jobs, handle).phase == "succeeded", "a new token was fetched"


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
    with pytest.raises(PenstockError) as told:
        jobs.submit(user_job(tmp_path / "code", "double", {"number": 4}))
    assert type(told.value) is kind
    assert says in str(told.value)
    assert way_out in told.value.way_out


def test_no_machine_is_free(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.here.dry.add("n1-standard-4")
    state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 4})))
    assert state.error is not None
    assert (state.error["code"], state.error["transient"]) == ("platform-full", True)
    assert "Resources are insufficient in region" in state.error["message"]


def test_a_job_waits_in_line_for_quota(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.here.quotas["custom_model_training_cpus"] = 4
    first = jobs.submit(user_job(tmp_path / "code", "wait", {"number": 1}))
    second = jobs.submit(user_job(tmp_path / "code", "double", {"number": 2}))
    assert jobs.observe(second).phase == "pending"
    jobs.cancel(first)
    assert ended(jobs, first).phase == "cancelled"
    assert ended(jobs, second).phase == "succeeded"


def test_a_spot_machine_goes_and_the_same_job_goes_on(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    job = user_job(tmp_path / "code", "count", {"number": 3, "until": 5}, spot=True)
    handle = jobs.submit(job)
    until(lambda: any("counted 3" in line for line in jobs.logs(handle).lines))
    cursor = jobs.logs(handle).cursor
    cloud.take_away(cloud.job(name_of(job, 0)))
    state = ended(jobs, handle)
    assert state.phase == "succeeded", state.error
    after = [line for line in jobs.logs(handle, cursor).lines if "counted" in line]
    assert [line.rpartition("counted ")[2][0] for line in after] == ["4", "5"]
    assert len(cloud.here.of(KIND)) == 1


def test_spot_machines_that_go_again_and_again(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated_jobs, "RESTARTS", 1)
    job = user_job(tmp_path / "code", "wait", {"number": 3}, spot=True)
    handle = jobs.submit(job)
    for life in range(2):
        until(lambda life=life: jobs.observe(handle).phase == "running" and cloud.job(name_of(job, 0)).life == life)
        cloud.take_away(cloud.job(name_of(job, 0)), warned=False)
    state = ended(jobs, handle)
    assert ((state.error or {})["code"], (state.error or {})["transient"]) == ("platform-full", True)


def test_a_job_that_runs_too_long_says_so(jobs: RemoteJobs, tmp_path: Path) -> None:
    state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "wait", {"number": 1}, timeout_s=1.0)))
    assert state.phase == "failed"
    assert state.error is not None
    assert (state.error["code"], state.error["transient"]) == ("step-timeout", False)


def test_an_image_that_is_not_there(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud.here, "images", set())
    state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 1})))
    assert "Failed to pull image" in str((state.error or {})["message"])


def test_the_last_lines_come_from_cloud_logging(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.here.processes.environment = {"PYTHONHOME": "/nowhere"}
    try:
        state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 1})))
    finally:
        cloud.here.processes.environment = {}
    assert "non-zero status of 1" in str((state.error or {})["message"])
    assert "encodings" in str((state.error or {})["message"])


def test_logs_that_may_not_be_read_are_no_error(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.here.identities.denied.add("ListLogEntries")
    job = user_job(tmp_path / "code", "double", {"number": 1})
    jobs.submit(job)
    assert driver_of(jobs).tail(name_of(job, 0)) == []


def test_a_job_deleted_behind_our_back_is_asked_for_anew(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    job = user_job(tmp_path / "code", "wait", {"number": 1})
    handle = jobs.submit(job)
    cloud.clear()
    jobs.clock = lambda: time.time() + 1000
    state = jobs.observe(handle)
    assert (state.phase, (state.error or {}).get("transient")) == ("failed", True)
    handle = jobs.submit(replace(job, attempt=2))
    assert jobs.observe(handle).phase in ("pending", "running")
    jobs.cancel(handle)


def test_what_is_left_is_listed_over_all_pages(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.here.start_s = 1000.0  # nothing starts: this is about rows
    driver = driver_of(jobs)
    handles = [jobs.submit(user_job(tmp_path / "code", "wait", {"number": n})) for n in range(12)]
    assert len(driver.left()) == 12
    other = CustomJobs(Google(settings_of(cloud.section())), "gs://another/store")
    assert other.left() == [], "another project's are not ours"
    rows = driver.google.rows("JobService.ListCustomJobs", {"parent": cloud.here.parent, "page_size": 5})
    assert len({row.name for row in rows}) == 12
    for handle in handles:
        jobs.cancel(handle)
        jobs.observe(handle)
    assert driver.left() == []


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


def test_two_machines_run_one_step(cloud: VertexAI, jobs: RemoteJobs, tmp_path: Path) -> None:
    job = user_job(tmp_path / "code", "double", {"number": 8}, nodes=2)
    assert ended(jobs, jobs.submit(job)).phase == "succeeded"
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
    home = Home.find(tmp_path, {})
    with pytest.raises(PlatformLacks, match="artifacts lie at file://"):
        VERTEX.jobs(home, Artifacts(home.artifacts_url, home.cache), cloud.section())
