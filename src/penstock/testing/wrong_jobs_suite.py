"""The conformance suite of jobs that go wrong at a vendor: faults, refusals, capacity, machines that go, sessions that end.

`class TestMyWrongJobs(WrongJobsConformance)`, in a module with the fixtures `cloud` (the emulator), `place` (home and artifacts) and `jobs`
(of the two, with a short patience).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from penstock.core.errors import PenstockError, PlatformAway, PlatformDenied, PlatformLacks
from penstock.core.home import Home
from penstock.platforms.contract import JobSpec, JobState
from penstock.platforms.remote.jobs import RemoteJobs, name_of
from penstock.platforms.remote.retrying import Patience
from penstock.platforms.table import PlatformParts
from penstock.store.artifacts import Artifacts
from penstock.testing.jobs_suite import ended, until, user_job

QUICK = Patience(attempts=4, first_s=0.01, longest_s=0.02)
Place = tuple[Home, Artifacts]


def check_refused(jobs: RemoteJobs, job: JobSpec, kind: type[PenstockError], says: str, way_out: str) -> None:
    with pytest.raises(PenstockError) as told:
        jobs.submit(job)
    assert type(told.value) is kind
    assert says in str(told.value)
    assert way_out in told.value.way_out


class WrongJobsConformance:
    """`creates`: operations by which a job is made, `looks`: by which it is seen, as the emulator's faults name them; what follows are
    words that must be in what the platform says.
    """

    platform: PlatformParts
    creates: tuple[str, ...]
    looks: str
    kind: str  # of jobs, among the things of the emulator
    signed_out_says: tuple[str, str]  # and its way out
    full_says: str
    image_says: str
    exit_says: str

    def state(self, cloud: Any) -> Any:
        """What the emulator keeps: faults, things, limits, processes."""
        raise NotImplementedError

    def signed_out(self, cloud: Any, look: Callable[[], JobState]) -> AbstractContextManager[None]:
        """Inside, the first `look` is refused; after it, none is."""
        raise NotImplementedError

    def exhaust(self, state: Any) -> None:
        """No machine is to be had for a job."""
        raise NotImplementedError

    def take_away(self, cloud: Any, name: str) -> None:
        """The machines of the job of that name go."""
        raise NotImplementedError

    def test_a_lost_answer_makes_no_second_job(self, cloud: Any, jobs: RemoteJobs, tmp_path: Path) -> None:
        state = self.state(cloud)
        met = state.faults.met
        for operation in self.creates:
            state.faults.plan("lose_answer", operation)
        assert ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 4}))).phase == "succeeded"
        assert len(state.of(self.kind)) == 1
        assert state.faults.met - met == len(self.creates)

    @pytest.mark.parametrize("fault", ["throttle", "internal", "lose_request"])
    def test_what_may_pass_is_asked_again_and_then_told(
        self, cloud: Any, jobs: RemoteJobs, tmp_path: Path, fault: Literal["throttle", "internal", "lose_request"]
    ) -> None:
        faults = self.state(cloud).faults
        faults.plan(fault, self.creates[0], times=3)
        handle = jobs.submit(user_job(tmp_path / "code", "wait", {"number": 1}))
        faults.plan(fault, self.looks, times=4)
        with pytest.raises(PlatformAway):
            jobs.observe(handle)
        assert jobs.observe(handle).phase in ("pending", "running")
        jobs.cancel(handle)
        assert ended(jobs, handle).phase == "cancelled"

    def test_a_session_that_ends_while_a_job_runs(self, cloud: Any, jobs: RemoteJobs, tmp_path: Path) -> None:
        handle = jobs.submit(user_job(tmp_path / "code", "double", {"number": 4}))
        says, way_out = self.signed_out_says

        def look() -> JobState:
            return jobs.observe(handle)

        with self.signed_out(cloud, look):
            with pytest.raises(PlatformDenied, match=says) as told:
                look()
            assert way_out in told.value.way_out
        assert ended(jobs, handle).phase == "succeeded"

    def test_no_machine_is_to_be_had(self, cloud: Any, jobs: RemoteJobs, tmp_path: Path) -> None:
        self.exhaust(self.state(cloud))
        state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 4})))
        assert state.error is not None
        assert (state.error["code"], state.error["transient"]) == ("platform-full", True)
        assert self.full_says in state.error["message"]

    def test_a_machine_goes_and_the_same_job_goes_on(self, cloud: Any, jobs: RemoteJobs, tmp_path: Path) -> None:
        job = user_job(tmp_path / "code", "count", {"number": 3, "until": 5}, spot=True)
        handle = jobs.submit(job)
        until(lambda: any("counted 3" in line for line in jobs.logs(handle).lines))
        cursor = jobs.logs(handle).cursor
        self.take_away(cloud, name_of(job, 0))
        state = ended(jobs, handle)
        assert state.phase == "succeeded", state.error
        after = [line for line in jobs.logs(handle, cursor).lines if "counted" in line]
        assert [line.rpartition("counted ")[2][0] for line in after] == ["4", "5"]
        assert len(self.state(cloud).of(self.kind)) == 1

    def test_a_job_that_runs_too_long_says_so(self, cloud: Any, jobs: RemoteJobs, tmp_path: Path) -> None:  # noqa: ARG002 (for who adds to it)
        state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "wait", {"number": 1}, timeout_s=1.0)))
        assert state.phase == "failed"
        assert state.error is not None
        assert (state.error["code"], state.error["transient"]) == ("step-timeout", False)

    def test_an_image_that_is_not_there(self, cloud: Any, jobs: RemoteJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(self.state(cloud), "images", set())
        state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 1})))
        assert self.image_says in str((state.error or {})["message"])

    def test_the_last_lines_come_from_the_vendors_logs(
        self, cloud: Any, jobs: RemoteJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(self.state(cloud).processes, "environment", {"PYTHONHOME": "/nowhere"})
        state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 1})))
        assert self.exit_says in str((state.error or {})["message"])
        assert "encodings" in str((state.error or {})["message"])

    def test_a_job_deleted_behind_our_back_is_asked_for_anew(self, cloud: Any, jobs: RemoteJobs, place: Place, tmp_path: Path) -> None:
        job = user_job(tmp_path / "code", "wait", {"number": 1})
        handle = jobs.submit(job)
        cloud.clear()
        jobs.clock = lambda: time.time() + 1000
        state = jobs.observe(handle)
        assert (state.phase, (state.error or {}).get("transient")) == ("failed", True)
        later = self.platform.jobs(*place, cloud.section())
        handle = later.submit(replace(job, attempt=2))
        assert later.observe(handle).phase in ("pending", "running")
        later.cancel(handle)

    def test_what_is_left_is_listed_over_all_pages(self, cloud: Any, jobs: RemoteJobs, place: Place, tmp_path: Path) -> None:
        self.state(cloud).start_s = 1000.0  # nothing starts: this is about rows
        handles = [jobs.submit(user_job(tmp_path / "code", "wait", {"number": n})) for n in range(12)]
        assert len(self.platform.left(*place, cloud.section())) == 12
        other = Artifacts(f"{place[1].url}-of-another", tmp_path / "other")
        assert self.platform.left(place[0], other, cloud.section()) == [], "another project's are not ours"
        for handle in handles:
            jobs.cancel(handle)
            jobs.observe(handle)
        assert self.platform.left(*place, cloud.section()) == []

    def test_artifacts_on_this_machine_are_out_of_reach(self, cloud: Any, tmp_path: Path) -> None:
        home = Home.find(tmp_path, {})
        with pytest.raises(PlatformLacks, match="artifacts lie at file://"):
            self.platform.jobs(home, Artifacts(home.artifacts_url, home.cache), {**cloud.section(), "environment": {}})
