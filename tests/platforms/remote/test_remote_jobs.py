"""Jobs elsewhere, by containers that are processes here: the whole Jobs suite, and what only happens far away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from penstock.core.digests import digest_file
from penstock.core.errors import PlatformAway, PlatformLacks, SourceUnreadable
from penstock.core.home import Home
from penstock.platforms.contract import Jobs
from penstock.platforms.jobs_codec import finished
from penstock.platforms.remote.carrying import PREFIX, carried, landed
from penstock.platforms.remote.inside import Keeper, restore
from penstock.platforms.remote.jobs import RemoteJobs, name_of
from penstock.platforms.remote.machines import ACCELERATORS, Machine, Need, choose
from penstock.platforms.remote.retrying import Patience, patiently
from penstock.spec.platforms.accelerators import Accelerator
from penstock.store.artifacts import Artifacts
from penstock.testing.containers import Processes
from penstock.testing.jobs_suite import JobsConformance, ended, until, user_job

MACHINE = Machine("here", 2, 8 << 30)
OPENED: list[Processes] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def opened(home: Home, artifacts: Artifacts, driver: Processes | None = None) -> RemoteJobs:
    made = driver or Processes(home.folder / "containers", environment={"PENSTOCK_NO_SYNC": "1"})
    OPENED.append(made)
    return RemoteJobs(made, home, artifacts, lambda _: MACHINE, environment={"PENSTOCK_SHARED_STORE": "1"}, poll_s=0.05)


class TestRemoteJobs(JobsConformance):
    def open(self, home: Home, artifacts: Artifacts) -> Jobs:
        return opened(home, artifacts)

    def crash(self, jobs: Jobs) -> None:
        """Far away, what a killed control process started runs on; here its machines are taken away with it."""
        assert isinstance(jobs, RemoteJobs)
        assert isinstance(jobs.driver, Processes)
        for name in jobs.driver.left():
            jobs.driver.take_away(name)
        until(lambda: not jobs.driver.left())


@pytest.fixture
def place(tmp_path: Path) -> tuple[RemoteJobs, Processes, Artifacts, Path]:
    home = Home.find(tmp_path, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    driver = Processes(home.folder / "containers")
    return opened(home, artifacts, driver), driver, artifacts, tmp_path


def test_a_lost_answer_makes_no_second_container(place: tuple[RemoteJobs, Processes, Artifacts, Path]) -> None:
    jobs, driver, _, folder = place
    driver.faults.lose_answers = 1
    job = user_job(folder / "code", "double", {"number": 4})
    with pytest.raises(PlatformAway):
        jobs.submit(job)
    handle = jobs.submit(job)
    assert ended(jobs, handle).phase == "succeeded"
    assert len(driver.made) == 1


def test_a_call_that_failed_is_made_again_under_the_same_name(place: tuple[RemoteJobs, Processes, Artifacts, Path]) -> None:
    jobs, driver, _, folder = place
    driver.faults.refuse = 1
    job = user_job(folder / "code", "double", {"number": 4})
    with pytest.raises(PlatformAway):
        jobs.submit(job)
    assert ended(jobs, jobs.submit(job)).phase == "succeeded"
    assert driver.made == [name_of(job, 0)]


def test_what_is_not_seen_yet_is_pending_not_lost(place: tuple[RemoteJobs, Processes, Artifacts, Path]) -> None:
    jobs, driver, _, folder = place
    driver.faults.hide_s = 1.0
    job = user_job(folder / "code", "wait", {"number": 1})
    handle = jobs.submit(job)
    assert jobs.observe(handle).phase == "pending"
    jobs.submit(job)
    assert len(driver.made) == 1
    until(lambda: jobs.observe(handle).phase == "running")
    jobs.clock = lambda: time.time() + 1000
    driver.faults.hide_s = 10_000.0
    state = jobs.observe(handle)
    assert (state.phase, (state.error or {}).get("transient")) == ("failed", True)


@pytest.mark.parametrize("warned", [True, False])
def test_a_machine_that_is_taken_away_is_no_end(place: tuple[RemoteJobs, Processes, Artifacts, Path], warned: bool) -> None:
    """With a warning work goes on from its scratch on another machine, without one from the last copy (here: from the start)."""
    jobs, driver, _, folder = place
    job = user_job(folder / "code", "count", {"number": 3, "until": 5})
    handle = jobs.submit(job)
    until(lambda: any("counted 3" in line for line in jobs.logs(handle).lines))
    driver.take_away(driver.left()[0], warned=warned)
    state = ended(jobs, handle)
    assert (state.phase, (state.error or {}).get("transient")) == ("failed", True)
    assert "taken away" in str((state.error or {})["message"])
    again = replace(job, attempt=2)
    handle = jobs.submit(again)
    if warned:
        state = ended(jobs, handle)
        assert state.phase == "succeeded", state.error
        assert not any("counted 3" in line for line in jobs.logs(handle).lines)
    else:
        until(lambda: any("counted 1" in line for line in jobs.logs(handle).lines))
    assert len(driver.made) == 2


def test_a_container_that_dies_before_it_can_speak(place: tuple[RemoteJobs, Processes, Artifacts, Path]) -> None:
    jobs, driver, _, folder = place
    driver.environment = {"PYTHONHOME": "/nowhere"}
    state = ended(jobs, jobs.submit(user_job(folder / "code", "double", {"number": 4})))
    assert state.phase == "failed"
    assert "exit code 1" in str((state.error or {})["message"])
    assert "encodings" in str((state.error or {})["message"]), "the vendor's last lines are told"


def test_sources_and_code_travel_and_arrive_as_they_were(tmp_path: Path) -> None:
    home = Home.find(tmp_path, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    source = tmp_path / "rows.csv"
    source.write_text("text,label\na,b\n")
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    job = user_job(tmp_path / "code", "double", {"number": 1})
    module = digest_file(tmp_path / "code" / "conformance_steps.py")
    (tmp_path / "code" / "secret.txt").write_text("not part of it")
    config = {**job.config, "code": {"conformance_steps": module, "elsewhere": "sha256:" + "0" * 64}}
    job = replace(
        job, config=config, external={digest_file(source): str(source), "sha256:base": base.as_uri(), "sha256:far": "s3://bucket/x"}
    )
    sent = carried(job, artifacts, tmp_path / "scratch")
    assert [place.startswith(PREFIX) for place in sent.external.values()] == [True, True, False]
    assert carried(sent, artifacts, tmp_path / "scratch") == sent
    there = landed(json_round(sent), artifacts)
    assert Path(there.external[digest_file(source)]).read_text() == "text,label\na,b\n"
    assert (Path(there.external["sha256:base"]) / "config.json").read_text() == "{}"
    assert there.external["sha256:far"] == "s3://bucket/x"
    assert sorted(p.name for p in Path(there.code_path[0]).iterdir()) == ["conformance_steps.py"]
    source.unlink()
    with pytest.raises(SourceUnreadable, match="does not exist any more"):
        carried(job, artifacts, tmp_path / "scratch")


def json_round(job: object) -> object:
    from penstock.platforms.jobs_codec import job_from_json, job_to_json

    return job_from_json(json.loads(json.dumps(job_to_json(job))))  # type: ignore[arg-type]


def test_a_store_on_this_machine_is_refused_for_what_runs_elsewhere(tmp_path: Path) -> None:
    home = Home.find(tmp_path, {})
    jobs = RemoteJobs(Processes(tmp_path / "c"), home, Artifacts(home.artifacts_url, home.cache), lambda _: MACHINE)
    with pytest.raises(PlatformLacks, match="lies on this machine"):
        jobs.submit(user_job(tmp_path / "code", "double", {"number": 1}))


def test_scratch_is_copied_whole_or_not_at_all(tmp_path: Path) -> None:
    home = Home.find(tmp_path, {})
    artifacts, scratch, key = Artifacts(home.artifacts_url, home.cache), tmp_path / "scratch", "sha256:" + "1" * 64
    keeper = Keeper(key, scratch, artifacts, every_s=0.05)
    assert not keeper.copy()
    (scratch / "deep").mkdir(parents=True)
    (scratch / "deep" / "weights").write_bytes(b"1" * 1000)
    assert keeper.copy()
    assert not keeper.copy(), "nothing is new"
    assert restore(key, tmp_path / "other", artifacts)
    assert (tmp_path / "other" / "deep" / "weights").read_bytes() == b"1" * 1000
    assert not restore(key, tmp_path / "other", artifacts), "what is there already is newer"
    keeper.start()
    (scratch / "deep" / "weights").write_bytes(b"2" * 1000)
    until(lambda: restore(key, tmp_path / f"later-{time.time()}", artifacts) and _newest(tmp_path) == b"2" * 1000)
    keeper.stop()


def _newest(folder: Path) -> bytes:
    return (max(folder.glob("later-*")) / "deep" / "weights").read_bytes()


def test_the_cheapest_machine_that_fits() -> None:
    table = (
        Machine("big", 16, 64 << 30, usd_per_h=0.8),
        Machine("small", 2, 8 << 30, usd_per_h=0.1),
        Machine("gpu", 8, 32 << 30, "a10g", 1, usd_per_h=1.0, spot_usd_per_h=0.4),
        Machine("gpus", 96, 1100 << 30, "a100-80gb", 8, usd_per_h=40.0),
        Machine("cheap-gpu", 4, 16 << 30, "t4", 1, usd_per_h=0.5),
    )
    assert choose(table, Need(), "x").name == "small"
    assert choose(table, Need(cpus=4), "x").name == "big", "a step that wants no accelerator pays for none"
    assert choose(table, Need(accelerators=1), "x").name == "cheap-gpu"
    assert choose(table, Need(accelerators=1), "x", spot=True).name == "gpu"
    assert choose(table, Need(accelerators=8, accelerator="a100-80gb"), "x").name == "gpus"
    assert choose(table, Need(machine="big"), "x").name == "big"
    with pytest.raises(PlatformLacks, match=r"no machine of x has 16 × a100-80gb; the largest has .* 8 × a100-80gb"):
        choose(table, Need(accelerators=16, accelerator="a100-80gb"), "x")
    with pytest.raises(PlatformLacks, match="small has 2 CPUs"):
        choose(table, Need(cpus=4, machine="small"), "x")
    with pytest.raises(PlatformLacks, match="no machine 'huge'"):
        choose(table, Need(machine="huge"), "x")


def test_what_may_pass_is_tried_again_and_nothing_else() -> None:
    pauses: list[float] = []
    calls = iter([TimeoutError(), TimeoutError(), 7])

    def call() -> int:
        value = next(calls)
        if isinstance(value, Exception):
            raise value
        return value

    assert patiently(call, lambda e: isinstance(e, TimeoutError), sleep=pauses.append, draw=lambda most: most) == 7
    assert pauses == [0.2, 0.4]
    with pytest.raises(ValueError, match="no"):
        patiently(_raising(ValueError("no")), lambda e: isinstance(e, TimeoutError), sleep=pauses.append)
    with pytest.raises(TimeoutError):
        patiently(_raising(TimeoutError()), lambda _: True, Patience(attempts=3), sleep=pauses.append, draw=lambda _: 0.0)
    assert len(pauses) == 4


def _raising(error: Exception):  # type: ignore[no-untyped-def]
    def call() -> None:
        raise error

    return call


def test_finished_marks_count_whatever_the_vendor_says(place: tuple[RemoteJobs, Processes, Artifacts, Path]) -> None:
    jobs, driver, artifacts, folder = place
    job = user_job(folder / "code", "double", {"number": 9})
    handle = jobs.submit(job)
    until(lambda: finished(job.key, artifacts))
    driver.take_away(name_of(job, 0), warned=False)
    assert ended(jobs, handle).phase == "succeeded"


def test_the_file_and_the_tables_know_the_same_accelerators() -> None:
    assert set(get_args(Accelerator)) == set(ACCELERATORS)
