"""What the service does to jobs beside running them: faults, refusals, capacity, machines that go, sessions that end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.core.errors import BadInput, PlatformDenied, PlatformFull, PlatformLacks
from penstock.core.home import Home
from penstock.platforms.azureml.driver import CommandJobs, sight_of
from penstock.platforms.azureml.platform import AZUREML
from penstock.platforms.contract import JobState
from penstock.platforms.remote.driver import Order
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.platforms.remote.machines import Machine
from penstock.platforms.remote.retrying import patiently
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.azure import Azure
from penstock.testing.emulators.azure.jobs import KIND, Job
from penstock.testing.emulators.azure.workspace import Workspace
from penstock.testing.jobs_suite import ended, user_job
from penstock.testing.several_machines import job_of, value_of
from penstock.testing.wrong_jobs_suite import QUICK, WrongJobsConformance, check_refused


@pytest.fixture
def jobs(cloud: Azure, place: tuple[Home, Artifacts]) -> RemoteJobs:
    return opened(cloud, place)


def opened(cloud: Azure, place: tuple[Home, Artifacts], **more: object) -> RemoteJobs:
    made = AZUREML.jobs(*place, cloud.section(**more))
    made.poll_s = 0.05
    driver_of(made).arm.patience = QUICK
    return made


def driver_of(jobs: RemoteJobs) -> CommandJobs:
    assert isinstance(jobs.driver, CommandJobs)
    return jobs.driver


def only_job(cloud: Azure) -> Job:
    (job,) = cloud.workspace.of(KIND).values()
    assert isinstance(job, Job)
    return job


class TestWrongJobs(WrongJobsConformance):
    platform, kind, creates, looks = AZUREML, KIND, ("PUT jobs", "PUT environments"), "GET jobs"
    signed_out_says = ("expiry", "az login")
    full_says, image_says, exit_says = "ClusterCoreQuotaReached", "Failed to pull Docker image", "exited with status code 1"

    def state(self, cloud: Azure) -> Workspace:
        return cloud.workspace

    @contextmanager
    def signed_out(self, cloud: Azure, look: Callable[[], JobState]) -> Iterator[None]:
        cloud.workspace.identity.expire()
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("IDENTITY_HEADER", "nobody's")
            yield
            with pytest.raises(PlatformDenied, match="no credentials"):
                look()

    def exhaust(self, state: Workspace) -> None:
        state.quotas["Standard_D2s_v3"] = 0

    def take_away(self, cloud: Azure, name: str) -> None:
        cloud.take_away(name)

    def test_a_lost_answer_makes_no_second_job(self, cloud: Azure, jobs: RemoteJobs, tmp_path: Path) -> None:
        super().test_a_lost_answer_makes_no_second_job(cloud, jobs, tmp_path)
        assert only_job(cloud).history == ["Starting", "Queued", "Preparing", "Running", "Finalizing", "Completed"]

    def test_a_machine_goes_and_the_same_job_goes_on(self, cloud: Azure, jobs: RemoteJobs, tmp_path: Path) -> None:
        super().test_a_machine_goes_and_the_same_job_goes_on(cloud, jobs, tmp_path)
        assert only_job(cloud).history.count("Queued") == 2

    def test_a_job_that_runs_too_long_says_so(self, cloud: Azure, jobs: RemoteJobs, tmp_path: Path) -> None:
        super().test_a_job_that_runs_too_long_says_so(cloud, jobs, tmp_path)
        assert only_job(cloud).status == "Canceled"


def test_azure_says_how_long_to_wait() -> None:
    pauses: list[float] = []
    failures = iter([ValueError(), ValueError()])

    def call() -> str:
        for error in failures:
            raise error
        return "done"

    assert patiently(call, lambda _: True, told=lambda _: 7.0, sleep=pauses.append, draw=lambda most: most) == "done"
    assert pauses == [7.0, 7.0]


def deny(cloud: Azure) -> None:
    cloud.workspace.identity.denied.add("Microsoft.MachineLearningServices/workspaces/jobs/write")


def unknown_image(cloud: Azure) -> None:
    cloud.workspace.identity.denied.add("Microsoft.MachineLearningServices/workspaces/environments/versions/write")


@pytest.mark.parametrize("how", [deny, unknown_image])
def test_refusals_say_the_way_out(cloud: Azure, jobs: RemoteJobs, tmp_path: Path, how: Callable[[Azure], None]) -> None:
    how(cloud)
    if how is unknown_image:
        cloud.workspace.images.add("another")
        jobs = opened(cloud, (jobs.home, jobs.artifacts), image="another")
    job = user_job(tmp_path / "code", "double", {"number": 4})
    check_refused(jobs, job, PlatformDenied, "does not have authorization", "AzureML Data Scientist")


def test_no_machine_is_free_and_then_one_is(cloud: Azure, jobs: RemoteJobs, tmp_path: Path) -> None:
    cloud.workspace.dry.add("Standard_D2s_v3")
    handle = jobs.submit(user_job(tmp_path / "code", "double", {"number": 5}, spot=True))
    assert jobs.observe(handle).phase == "pending"
    cloud.workspace.dry.clear()
    assert ended(jobs, handle).phase == "succeeded"


def test_timeouts_are_read_however_azure_writes_them() -> None:
    run = {"startTimeUtc": "2026-11-29T00:00:00Z", "endTimeUtc": "2026-11-30T01:00:00.5+00:00"}
    for text, over in (("P1DT1H", True), ("PT25H", True), ("PT90000S", True), ("PT25H1M", False), ("P1W", False)):
        sight = sight_of({"status": "Canceled", "limits": {"timeout": text}}, run)
        assert (sight.phase == "failed") is over, text


def test_a_cluster_that_is_there(cloud: Azure, place: tuple[Home, Artifacts], tmp_path: Path) -> None:
    cloud.workspace.clusters["cpus"] = "Standard_D4s_v3"
    jobs = opened(cloud, place, compute={"name": "cpus", "machine": "Standard_D4s_v3"})
    assert ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 3}))).phase == "succeeded"
    assert only_job(cloud).properties["computeId"].endswith("/computes/cpus")
    with pytest.raises(PlatformLacks, match="has none"):
        jobs.submit(user_job(tmp_path / "code", "double", {"number": 4}, spot=True))
    missing = opened(cloud, place, compute={"name": "nobody", "machine": "Standard_D4s_v3"})
    with pytest.raises(BadInput, match="has no compute 'nobody'") as told:
        missing.submit(user_job(tmp_path / "code", "double", {"number": 5}))
    assert "az ml compute create --type AmlCompute --name nobody --size Standard_D4s_v3" in told.value.way_out
    cloud.workspace.clusters.clear()
    with pytest.raises(BadInput, match="Unknown compute target"):
        jobs.submit(user_job(tmp_path / "code", "double", {"number": 6}))


def test_several_machines_meet_by_azures_pytorch_distribution(cloud: Azure, jobs: RemoteJobs, tmp_path: Path) -> None:
    job = job_of(tmp_path / "code", "meet", 2, processes=2)
    state = ended(jobs, jobs.submit(job))
    assert state.phase == "succeeded", state.error
    assert value_of(jobs.artifacts, job) == b"46"
    assert len(cloud.workspace.processes.made) >= 2
    assert only_job(cloud).properties["distribution"] == {"distributionType": "PyTorch", "processCountPerInstance": 1}


def test_what_it_cannot_do_is_refused_while_planning(cloud: Azure, tmp_path: Path) -> None:
    job = user_job(tmp_path / "code", "double", {"number": 1})
    quote = AZUREML.quote(replace(job, spot=True, nodes=2), cloud.section())
    assert (quote.machine, quote.nodes, quote.usd_per_h, quote.prices_of) == ("Standard_D2s_v3", 2, 0.192, "2026-11-29")
    assert quote.calls == ("PUT jobs double: 2 × Standard_D2s_v3, low priority, serverless, at most 24 h 0 min, in penstock (westeurope)",)
    dear = AZUREML.quote(replace(job, gpus=1, gpu_type="t4"), cloud.section(usd_per_hour={"Standard_NC8as_T4_v3": 0.1}))
    assert (dear.machine, dear.usd_per_h, dear.prices_of) == ("Standard_NC8as_T4_v3", 0.1, None), "the cheapest by the section's prices"
    for more, says in (({"gpu_type": "tpu-v5e", "gpus": 1}, "none at Azure"), ({"timeout_s": 3e6}, "30")):
        with pytest.raises(PlatformLacks, match=says):
            AZUREML.quote(replace(job, **more), cloud.section())


def test_a_request_says_all_of_an_order(cloud: Azure, place: tuple[Home, Artifacts]) -> None:
    identity = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
    driver = driver_of(opened(cloud, place, identity=identity, tags={"team": "a/b"}))
    order = Order("n", ("penstock", "exec", "a b"), {"A": "1"}, Machine("Standard_D2s_v3", 2, 8), spot=True, timeout_s=90.0)
    found = driver.request(order, "env")["properties"]
    assert found["command"] == "penstock exec 'a b'"
    assert found["queueSettings"] == {"jobTier": "Spot"}
    assert found["limits"]["timeout"] == "PT90S"
    assert found["identity"] == {"identityType": "Managed", "resourceId": identity}
    assert found["tags"]["team"] == "a/b"
    assert found["environmentVariables"] == {"A": "1"}


def test_full_when_azure_says_so() -> None:
    error = {"error": {"code": "UserError", "message": "ClusterCoreQuotaReached"}}
    assert sight_of({"status": "Failed"}, {"error": error}).failure is PlatformFull
