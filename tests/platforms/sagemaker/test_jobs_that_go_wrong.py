"""What the service does to jobs beside running them: faults, refusals, capacity, spot machines that go, sessions that end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.core.errors import PenstockError, PlatformDenied, PlatformFull, PlatformLacks
from penstock.core.home import Home
from penstock.platforms.contract import JobState
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.platforms.sagemaker.capabilities import machine_for
from penstock.platforms.sagemaker.driver import TrainingJobs
from penstock.platforms.sagemaker.platform import SAGEMAKER
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.sagemaker import SageMaker, signing
from penstock.testing.emulators.sagemaker.account import Account
from penstock.testing.emulators.sagemaker.training import KIND
from penstock.testing.jobs_suite import ended, user_job
from penstock.testing.wrong_jobs_suite import QUICK, WrongJobsConformance, check_refused


@pytest.fixture
def jobs(cloud: SageMaker, place: tuple[Home, Artifacts]) -> RemoteJobs:
    made = SAGEMAKER.jobs(*place, cloud.section())
    made.poll_s = 0.05
    driver_of(made).aws.patience = QUICK
    return made


def driver_of(jobs: RemoteJobs) -> TrainingJobs:
    assert isinstance(jobs.driver, TrainingJobs)
    return jobs.driver


class TestWrongJobs(WrongJobsConformance):
    platform, kind, creates, looks = SAGEMAKER, KIND, ("CreateTrainingJob",), "DescribeTrainingJob"
    signed_out_says = ("expired", "aws sso login")
    full_says, image_says, exit_says = "CapacityError", "Cannot find repository or tag of image", "exit code: 1"

    def state(self, cloud: SageMaker) -> Account:
        return cloud.account

    @contextmanager
    def signed_out(self, cloud: SageMaker, look: Callable[[], JobState]) -> Iterator[None]:  # noqa: ARG002
        cloud.account.identities.expired.add(cloud.key)
        yield
        cloud.account.identities.expired.clear()

    def exhaust(self, state: Account) -> None:
        state.dry.add("ml.m5.large")

    def take_away(self, cloud: SageMaker, name: str) -> None:
        cloud.take_away(name)

    def test_a_machine_goes_and_the_same_job_goes_on(self, cloud: SageMaker, jobs: RemoteJobs, tmp_path: Path) -> None:
        super().test_a_machine_goes_and_the_same_job_goes_on(cloud, jobs, tmp_path)
        (name,) = cloud.account.of(KIND)
        seen = driver_of(jobs).aws.call("sagemaker:DescribeTrainingJob", TrainingJobName=name)
        assert seen is not None
        assert "Interrupted" in [row["Status"] for row in seen["SecondaryStatusTransitions"]]


def test_spot_waits_for_a_machine_as_long_as_it_was_told(cloud: SageMaker, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.account.dry.add("ml.m5.large")
    handle = jobs.submit(user_job(tmp_path / "code", "double", {"number": 5}, spot=True))
    assert jobs.observe(handle).phase == "pending"
    cloud.account.dry.clear()
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
    check_refused(jobs, job, kind, says, way_out)


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
