"""What goes wrong on a cluster while jobs run, each against the emulator with the official client: one Job an attempt, whatever happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import BadInput, PlatformAway, PlatformDenied, PlatformFull, PlatformLacks
from penstock.core.home import Home
from penstock.platforms.contract import JobState
from penstock.platforms.kubernetes.driver import KubernetesDriver
from penstock.platforms.kubernetes.platform import KUBERNETES
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.platforms.remote.retrying import Patience
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.kubernetes.cluster import Cluster
from penstock.testing.jobs_suite import ended, until, user_job

QUICK = Patience(attempts=4, first_s=0.02, longest_s=0.05)


@dataclass
class Place:
    """A cluster with jobs on it. `job`: one of the suite's functions."""

    cluster: Cluster
    home: Home
    artifacts: Artifacts
    folder: Path

    def jobs(self, **more: Any) -> RemoteJobs:
        made = KUBERNETES.jobs(self.home, self.artifacts, self.cluster.settings(self.home.folder, **more))
        driver_of(made).api._patience = QUICK
        return made

    def job(self, function: str = "double", **values: Any) -> Any:
        return user_job(self.folder / "code", function, values or {"number": 1})

    def posted(self) -> int:
        return len([call for call in self.cluster.api.seen if call[0] == "POST" and "/jobs" in call[1]])

    def all_jobs(self) -> list[dict[str, Any]]:
        return self.cluster.world.all("Job")


def driver_of(jobs: RemoteJobs) -> KubernetesDriver:
    assert isinstance(jobs.driver, KubernetesDriver)
    return jobs.driver


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Place:
    home = Home.find(tmp_path, {})
    return Place(cluster, home, Artifacts(home.artifacts_url, home.cache), tmp_path)


@pytest.fixture
def jobs(place: Place) -> Iterator[RemoteJobs]:
    made = place.jobs()
    yield made
    made.close()


def told(state: JobState) -> str:
    return str((state.error or {}).get("message"))


def running(jobs: RemoteJobs, handle: Any, word: str = "waiting") -> None:
    until(lambda: any(word in line for line in jobs.logs(handle).lines))


@pytest.mark.parametrize("fault", ["throttle", "broken", "lose_answers"])
def test_what_passes_is_tried_again_and_makes_no_second_job(place: Place, jobs: RemoteJobs, fault: str) -> None:
    place.cluster.faults.only = frozenset({"POST"})
    setattr(place.cluster.faults, fault, 2)
    state = ended(jobs, jobs.submit(place.job()))
    assert state.phase == "succeeded", state.error
    assert place.posted() == 3
    assert len({call for call in place.cluster.api.seen if call[0] == "POST"}) == 1


def test_answers_that_stay_lost_make_no_second_job(place: Place, jobs: RemoteJobs) -> None:
    place.cluster.faults.only = frozenset({"POST"})
    place.cluster.faults.lose_answers = 4
    with pytest.raises(PlatformAway, match="does not answer"):
        jobs.submit(place.job())
    assert len(place.all_jobs()) == 1
    assert ended(jobs, jobs.submit(place.job())).phase == "succeeded"
    assert place.posted() == 4, "what was there was found by a look, not made again"


def test_watch_goes_on_after_it_was_cut_and_lists_anew_when_too_old(place: Place, jobs: RemoteJobs) -> None:
    handle = jobs.submit(place.job("wait"))
    running(jobs, handle)
    watched = driver_of(jobs)._kind("Job")
    assert jobs.observe(handle).phase == "running"
    assert watched.relists == 1
    place.cluster.cut_watches()
    until(lambda: any("watch=true" in call[1] for call in place.cluster.api.seen[-2:]))
    assert watched.relists == 1, "it goes on from where it was"
    place.cluster.cut_watches(forget=True)
    until(lambda: watched.relists == 2)
    asked = len(place.cluster.api.seen)
    for _ in range(20):
        assert jobs.observe(handle).phase == "running"
    assert len(place.cluster.api.seen) - asked <= 2, "the watch answers, not the server"
    jobs.cancel(handle)
    assert ended(jobs, handle).phase == "cancelled"


def test_api_server_that_goes_away_while_a_job_runs(place: Place, jobs: RemoteJobs) -> None:
    """A look may then fail, as the control process expects of it; the job is not lost by that."""
    handle = jobs.submit(place.job("count", number=0, until=1))
    place.cluster.faults.broken = 12
    place.cluster.cut_watches(forget=True)
    seen = set()

    def look() -> bool:
        try:
            seen.add(jobs.observe(handle).phase)
        except PlatformAway:
            seen.add("away")
        return "succeeded" in seen or "failed" in seen

    until(look)
    assert "failed" not in seen
    assert ended(jobs, handle).phase == "succeeded"


def test_job_that_was_deleted_behind_our_back_is_lost_and_placed_anew(place: Place, jobs: RemoteJobs) -> None:
    job = place.job("count", number=3, until=5)
    handle = jobs.submit(job)
    running(jobs, handle, "counted 3")
    name = place.all_jobs()[0]["metadata"]["name"]
    driver_of(jobs).api.delete("Job", name)
    jobs.clock = lambda: time.time() + 1000
    state = until(lambda: (s := jobs.observe(handle)).phase == "failed" and s)
    assert (state.error or {})["transient"]
    until(lambda: not place.cluster.world.all("Pod"))
    again = ended(jobs, jobs.submit(job))
    assert again.phase == "succeeded", again.error
    assert not any("counted 3" in line for line in jobs.logs(handle).lines), "it went on from its scratch"


@pytest.mark.parametrize("warned", [True, False])
def test_spot_node_that_is_taken_away(place: Place, warned: bool) -> None:
    spot = {"cloud.google.com/gke-spot": "true"}
    place.cluster.add_node("spot-1", labels=spot, taints=("cloud.google.com/gke-spot=true:NoSchedule",))
    jobs = place.jobs()
    job = replace(place.job("count", number=3, until=5), spot=True)
    handle = jobs.submit(job)
    running(jobs, handle, "counted 3")
    assert place.cluster.pods()[0]["spec"]["nodeName"] == "spot-1"
    place.cluster.take_node("spot-1", warned=warned)
    state = ended(jobs, handle)
    assert (state.error or {})["transient"]
    assert "taken away" in told(state)
    place.cluster.add_node("spot-2", labels=spot)
    handle = jobs.submit(replace(job, attempt=2))
    if warned:
        state = ended(jobs, handle)
        assert state.phase == "succeeded", state.error
        assert not any("counted 3" in line for line in jobs.logs(handle).lines)
    else:
        running(jobs, handle, "counted 1")
        jobs.cancel(handle)
    jobs.close()


def test_timeout_memory_and_a_process_that_just_dies_are_told_apart(place: Place, jobs: RemoteJobs) -> None:
    late = jobs.submit(replace(place.job("wait", number=1), timeout_s=1))
    greedy = jobs.submit(place.job("wait", number=2))
    broken = jobs.submit(place.job("wait", number=3))
    for handle in (greedy, broken):
        running(jobs, handle)
    by_key = {pod["metadata"]["labels"]["penstock-key"]: pod["metadata"]["name"] for pod in place.cluster.pods()}
    place.cluster.exhaust(by_key[greedy.key[-63:]])
    place.cluster.crash(by_key[broken.key[-63:]])
    codes = {name: (ended(jobs, handle).error or {})["code"] for name, handle in [("late", late), ("greedy", greedy), ("broken", broken)]}
    assert codes == {"late": "step-timeout", "greedy": "step-memory", "broken": "step-failed"}
    assert "exit code 137" in told(jobs.observe(broken))


def test_no_room_and_no_image_are_ends_with_their_reason(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.platforms.kubernetes.driver.UNFIT_S", 0.5)
    jobs = place.jobs(pending=0.5)
    large = ended(jobs, jobs.submit(replace(place.job(number=1), memory_bytes=1 << 50)))
    assert ((large.error or {})["code"], (large.error or {})["transient"]) == ("platform-full", True)
    assert "Insufficient memory" in told(large)
    place.cluster.faults.images.add("registry.example/penstock:1")
    unknown = ended(jobs, jobs.submit(place.job(number=2)))
    assert (unknown.error or {})["code"] == "step-failed"
    assert "ImagePullBackOff" in told(unknown)
    place.cluster.faults.images.clear()
    place.cluster.faults.quota["pods"] = 0
    refused = ended(jobs, jobs.submit(place.job(number=3)))
    assert (refused.error or {})["code"] == "platform-full"
    assert "exceeded quota" in told(refused)
    jobs.close()


def test_credentials_that_expire_mid_run(place: Place, jobs: RemoteJobs) -> None:
    handle = jobs.submit(place.job("wait"))
    running(jobs, handle)
    place.cluster.access.expire()
    place.cluster.cut_watches(forget=True)
    with pytest.raises(PlatformDenied, match="does not know who asks"):
        until(lambda: jobs.cancel(handle))
    place.cluster.access.renew()
    jobs.cancel(handle)
    assert ended(jobs, handle).phase == "cancelled"


def test_refusals_say_what_to_do(place: Place, jobs: RemoteJobs) -> None:
    place.cluster.faults.denied.add(("create", "jobs"))
    with pytest.raises(PlatformDenied, match='cannot create resource "jobs" in API group "batch"') as denied:
        jobs.submit(place.job())
    assert "penstock install kubernetes" in denied.value.way_out
    place.cluster.faults.denied.clear()
    place.cluster.faults.quota["jobs"] = 0
    with pytest.raises(PlatformFull, match="exceeded quota"):
        jobs.submit(place.job())
    place.cluster.faults.quota.clear()
    elsewhere = place.jobs(namespace="nowhere")
    with pytest.raises(BadInput, match='namespaces "nowhere" not found') as missing:
        elsewhere.submit(place.job())
    assert "kubectl create namespace nowhere" in missing.value.way_out
    with pytest.raises(PlatformLacks, match="an image of its own"):
        jobs.submit(replace(place.job(), environment=("flwr==1.41",)))
    with pytest.raises(BadInput, match="no kubeconfig at"):
        place.jobs(kubeconfig="/nowhere/config").submit(place.job())


def test_nothing_is_left_of_what_ended(place: Place, jobs: RemoteJobs) -> None:
    good = jobs.submit(place.job(number=1))
    bad = jobs.submit(place.job("fail", number=1))
    long = jobs.submit(place.job("wait", number=1))
    ended(jobs, good)
    ended(jobs, bad)
    running(jobs, long)
    settings = place.cluster.settings(place.home.folder)
    left = KUBERNETES.left(place.home, place.artifacts, settings)
    assert [name.startswith("Job penstock-wait-") for name in left] == [True]
    jobs.cancel(long)
    ended(jobs, long)
    assert KUBERNETES.left(place.home, place.artifacts, settings) == []
    kept = place.all_jobs()
    assert len(kept) == 2, "what failed or was stopped stays for an hour, to be looked at"
    assert all(job["spec"]["ttlSecondsAfterFinished"] == 3600 for job in kept)
    other = Home.find(place.folder / "other", {})
    assert KUBERNETES.left(other, place.artifacts, settings) == []


def test_secrets_come_by_reference_and_pods_have_no_token_for_the_cluster(place: Place) -> None:
    place.cluster.add_secret("bucket", {"AWS_SECRET_ACCESS_KEY": "planted"})
    jobs = place.jobs(secrets=["bucket"], environment={"REGION": "north"}, service_account="penstock-work")
    handle = jobs.submit(place.job("wait"))
    running(jobs, handle)
    made = [*place.all_jobs(), *place.cluster.pods()]
    assert len(made) == 2
    assert "planted" not in str(made)
    spec = place.cluster.pods()[0]["spec"]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("penstock-work", False)
    environment = next(place.cluster.processes.folder.glob("*/order.json")).read_text()
    assert '"AWS_SECRET_ACCESS_KEY": "planted"' in environment
    assert '"REGION": "north"' in environment
    jobs.cancel(handle)
    jobs.close()


def test_pool_is_chosen_and_its_price_is_told(place: Place) -> None:
    pools = {
        "small": {"cpus": 4, "memory": "16GiB", "usd_per_hour": 0.2, "labels": {"pool": "small"}},
        "gpu": {"cpus": 8, "memory": "64GiB", "gpu": {"type": "l4", "count": 2}, "usd_per_hour": 1.6, "taints": ["gpu=yes:NoSchedule"]},
        "cheap": {"cpus": 4, "memory": "16GiB", "spot": True, "usd_per_hour": 0.05},
    }
    settings = place.cluster.settings(place.home.folder, pools=pools)
    quote = KUBERNETES.quote(place.job(), settings)
    assert (quote.machine, quote.usd_per_h) == ("small (1 CPUs, 2.0 GiB)", 0.05)
    quote = KUBERNETES.quote(replace(place.job(), gpus=1, gpu_type="l4", nodes=2), settings)
    assert (quote.nodes, quote.usd_per_h) == (2, 1.6)
    assert [call.split(" ")[1].rpartition("/")[2] for call in quote.calls] == ["services", "jobs"]
    assert KUBERNETES.quote(replace(place.job(), spot=True), settings).machine.startswith("cheap")
    with pytest.raises(PlatformLacks, match="the largest has"):
        KUBERNETES.quote(replace(place.job(), gpus=4, gpu_type="l4"), settings)
    place.cluster.add_node("g1", taints=("gpu=yes:NoSchedule",), nvidia_com__gpu="2")
    jobs = place.jobs(pools=pools)
    handle = jobs.submit(replace(place.job("wait"), gpus=1, gpu_type="l4"))
    running(jobs, handle)
    pod = place.cluster.pods()[0]
    assert pod["spec"]["nodeName"] == "g1"
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    jobs.cancel(handle)
    jobs.close()
