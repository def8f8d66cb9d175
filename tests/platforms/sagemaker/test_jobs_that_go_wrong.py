"""What the service does to jobs beside running them: faults, refusals, capacity, spot machines that go, sessions that end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.core.errors import PenstockError, PlatformAway, PlatformDenied, PlatformFull, PlatformLacks
from penstock.core.home import Home
from penstock.platforms.remote.jobs import RemoteJobs, name_of
from penstock.platforms.remote.retrying import Patience
from penstock.platforms.sagemaker.capabilities import machine_for
from penstock.platforms.sagemaker.driver import TrainingJobs
from penstock.platforms.sagemaker.platform import SAGEMAKER
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.sagemaker import SageMaker, signing
from penstock.testing.emulators.sagemaker.training import KIND
from penstock.testing.jobs_suite import ended, until, user_job

QUICK = Patience(attempts=4, first_s=0.01, longest_s=0.02)


@pytest.fixture
def jobs(cloud: SageMaker, place: tuple[Home, Artifacts]) -> RemoteJobs:
    made = SAGEMAKER.jobs(*place, cloud.section())
    made.poll_s = 0.05
    driver_of(made).aws.patience = QUICK
    return made


def driver_of(jobs: RemoteJobs) -> TrainingJobs:
    assert isinstance(jobs.driver, TrainingJobs)
    return jobs.driver


def test_a_lost_answer_makes_no_second_job(cloud: SageMaker, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.account.faults.plan("lose_answer", "CreateTrainingJob")
    assert ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 4}))).phase == "succeeded"
    assert len(cloud.account.of(KIND)) == 1
    assert cloud.account.faults.met == 1


@pytest.mark.parametrize("kind", ["throttle", "internal", "lose_request"])
def test_what_may_pass_is_asked_again_and_then_told(cloud: SageMaker, jobs: RemoteJobs, tmp_path: Path, kind: str) -> None:
    cloud.account.faults.plan(kind, "CreateTrainingJob", times=3)  # type: ignore[arg-type]
    job = user_job(tmp_path / "code", "wait", {"number": 1})
    handle = jobs.submit(job)
    cloud.account.faults.plan(kind, "DescribeTrainingJob", times=4)  # type: ignore[arg-type]
    with pytest.raises(PlatformAway):
        jobs.observe(handle)
    assert jobs.observe(handle).phase in ("pending", "running")
    jobs.cancel(handle)
    assert ended(jobs, handle).phase == "cancelled"


def test_a_session_that_ends_while_a_job_runs(cloud: SageMaker, jobs: RemoteJobs, tmp_path: Path) -> None:
    handle = jobs.submit(user_job(tmp_path / "code", "double", {"number": 4}))
    cloud.account.identities.expired.add(cloud.key)
    with pytest.raises(PlatformDenied, match="expired") as told:
        jobs.observe(handle)
    assert "aws sso login" in told.value.way_out
    cloud.account.identities.expired.clear()
    assert ended(jobs, handle).phase == "succeeded"


def deny(cloud: SageMaker, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 (one of a family)
    cloud.account.identities.denied.add("CreateTrainingJob")


def skew(cloud: SageMaker, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setattr(signing, "SKEW_S", -1.0)


def unknown(cloud: SageMaker, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")


def wrong(cloud: SageMaker, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")


def untrusted(cloud: SageMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud.account, "roles", set())


def crowded(cloud: SageMaker, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    cloud.account.quotas["ml.m5.large for training job usage"] = 0


@pytest.mark.parametrize(
    ("how", "kind", "says", "way_out"),
    [
        (deny, PlatformDenied, "not authorized to perform: sagemaker:CreateTrainingJob", "Grant sagemaker:CreateTrainingJob"),
        (skew, PlatformDenied, "more than 5 min", "clock"),
        (unknown, PlatformDenied, "security token", "sign in"),
        (wrong, PlatformDenied, "signature", "Grant"),
        (untrusted, PlatformDenied, "Could not assume role", "trust policy"),
        (crowded, PlatformFull, "service limit 'ml.m5.large for training job usage' is 0", "Service Quotas"),
    ],
)
def test_refusals_say_the_way_out(
    cloud: SageMaker,
    place: tuple[Home, Artifacts],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[[SageMaker, pytest.MonkeyPatch], None],
    kind: type[PenstockError],
    says: str,
    way_out: str,
) -> None:
    driver = driver_of(SAGEMAKER.jobs(*place, cloud.section()))
    how(cloud, monkeypatch)
    job = user_job(tmp_path / "code", "double", {"number": 4})
    jobs = RemoteJobs(driver, *place, machine_for)
    with pytest.raises(PenstockError) as told:
        jobs.submit(job)
    assert type(told.value) is kind
    assert says in str(told.value)
    assert way_out in told.value.way_out


def test_no_machine_is_free(cloud: SageMaker, jobs: RemoteJobs, tmp_path: Path) -> None:
    """On demand the job fails at once; spot waits for as long as it was told, and goes on when one comes."""
    cloud.account.dry.add("ml.m5.large")
    job = user_job(tmp_path / "code", "double", {"number": 4})
    state = ended(jobs, jobs.submit(job))
    assert state.error is not None
    assert (state.error["code"], state.error["transient"]) == ("platform-full", True)
    assert "CapacityError" in state.error["message"]
    patient = user_job(tmp_path / "code", "double", {"number": 5}, spot=True)
    handle = jobs.submit(patient)
    assert jobs.observe(handle).phase == "pending"
    cloud.account.dry.clear()
    assert ended(jobs, handle).phase == "succeeded"


def test_a_spot_machine_goes_and_the_same_job_goes_on(cloud: SageMaker, jobs: RemoteJobs, tmp_path: Path) -> None:
    job = user_job(tmp_path / "code", "count", {"number": 3, "until": 5}, spot=True)
    handle = jobs.submit(job)
    until(lambda: any("counted 3" in line for line in jobs.logs(handle).lines))
    cursor = jobs.logs(handle).cursor
    cloud.take_away(name_of(job, 0))
    state = ended(jobs, handle)
    assert state.phase == "succeeded", state.error
    after = [line for line in jobs.logs(handle, cursor).lines if "counted" in line]
    assert [line.rpartition("counted ")[2][0] for line in after] == ["4", "5"]
    assert list(cloud.account.of(KIND)) == [name_of(job, 0)]
    seen = driver_of(jobs).aws.call("sagemaker:DescribeTrainingJob", TrainingJobName=name_of(job, 0))
    assert seen is not None
    assert "Interrupted" in [row["Status"] for row in seen["SecondaryStatusTransitions"]]


def test_a_job_that_runs_too_long_says_so(cloud: SageMaker, jobs: RemoteJobs, tmp_path: Path) -> None:  # noqa: ARG001
    state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "wait", {"number": 1}, timeout_s=1.0)))
    assert state.phase == "failed"
    assert state.error is not None
    assert (state.error["code"], state.error["transient"]) == ("step-timeout", False)


def test_an_image_that_is_not_there(cloud: SageMaker, jobs: RemoteJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud.account, "images", set())
    state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 1})))
    assert "Cannot find repository or tag of image" in str((state.error or {})["message"])


def test_the_last_lines_come_from_cloudwatch(cloud: SageMaker, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.account.processes.environment = {"PYTHONHOME": "/nowhere"}
    try:
        state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 1})))
    finally:
        cloud.account.processes.environment = {}
    assert "exit code: 1" in str((state.error or {})["message"])
    assert "encodings" in str((state.error or {})["message"])


def test_a_job_deleted_behind_our_back_is_asked_for_anew(cloud: SageMaker, jobs: RemoteJobs, tmp_path: Path) -> None:
    job = user_job(tmp_path / "code", "wait", {"number": 1})
    handle = jobs.submit(job)
    cloud.clear()
    jobs.clock = lambda: time.time() + 1000
    state = jobs.observe(handle)
    assert (state.phase, (state.error or {}).get("transient")) == ("failed", True)
    handle = jobs.submit(replace(job, attempt=2))
    assert jobs.observe(handle).phase in ("pending", "running")
    jobs.cancel(handle)


def test_what_is_left_is_listed_over_all_pages(cloud: SageMaker, jobs: RemoteJobs, place: tuple[Home, Artifacts], tmp_path: Path) -> None:
    cloud.account.start_s = 1000.0  # nothing starts: this is about rows
    handles = [jobs.submit(user_job(tmp_path / "code", "wait", {"number": n})) for n in range(12)]
    assert len(SAGEMAKER.left(*place, cloud.section())) == 12
    other = Artifacts(f"{cloud.bucket()}/store", tmp_path / "other")
    assert SAGEMAKER.left(place[0], other, cloud.section()) == [], "another project's are not ours"
    for handle in handles:
        jobs.cancel(handle)
        jobs.observe(handle)
    assert SAGEMAKER.left(*place, cloud.section()) == []


def test_what_it_cannot_do_is_refused_while_planning(cloud: SageMaker, tmp_path: Path) -> None:
    quote = SAGEMAKER.quote(user_job(tmp_path / "code", "double", {"number": 1}, gpus=1, gpu_type="a10g", spot=True), cloud.section())
    assert (quote.machine, quote.spot, quote.usd_per_h) == ("ml.g5.xlarge", True, 1.408)
    assert quote.calls == ("sagemaker:CreateTrainingJob double: 1 × ml.g5.xlarge, managed spot, at most 24 h 0 min, in us-east-1",)
    pinned = {"environment": ("x==1",)}
    for more, says in (
        ({"gpu_type": "tpu-v5e", "gpus": 1}, "none at AWS"),
        ({"timeout_s": 3e6}, "28"),
        (pinned, "image of its own"),
    ):
        with pytest.raises(PlatformLacks, match=says):
            SAGEMAKER.quote(user_job(tmp_path / "code", "double", {"number": 1}, **more), cloud.section())
    home = Home.find(tmp_path, {})
    with pytest.raises(PlatformLacks, match="artifacts lie at file://"):
        SAGEMAKER.jobs(home, Artifacts(home.artifacts_url, home.cache), cloud.section())
