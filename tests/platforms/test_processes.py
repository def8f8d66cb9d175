"""A step as several processes of a machine: they meet, the first one's outputs and log count, one that fails ends all and says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.core.digests import digest_json
from penstock.core.home import Home
from penstock.platforms.contract import JobSpec, JobState
from penstock.platforms.jobs_codec import finished, publish
from penstock.platforms.local.jobs import LocalJobs
from penstock.platforms.local.process import birth
from penstock.platforms.log_lines import parse
from penstock.store.artifacts import Artifacts
from penstock.testing.jobs_suite import ended, until
from penstock.testing.several_machines import job_of, value_of

SOURCE = textwrap.dedent("""
    import os
    import signal
    import time
    from pathlib import Path

    from penstock.core.errors import Interrupted
    from penstock.stages.user.types import Context, Metrics, Output

    def say(number: int, context: Context, made: Output) -> Metrics:
        rank = context.peers.rank
        print(f"printed by {rank}", flush=True)
        context.log(f"said by {rank} of {context.peers.size}")
        context.point("rank", rank, 1)
        (made / "rank.txt").write_text(str(rank))
        said = " ".join(os.environ[name] for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK"))
        (Path(os.environ["MARKS"]) / str(rank)).write_text(said)
        return {"rank": float(rank)}

    def break_one(number: int, context: Context) -> int:
        if context.peers.rank == number:
            raise ValueError(f"{number} cannot go on")
        time.sleep(600)

    def kill_one(number: int, context: Context) -> int:
        if context.peers.rank == number:
            print("last words", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)

    def fail_late(number: int, context: Context) -> int:
        if context.peers.leads:
            return number
        time.sleep(0.3)
        raise ValueError("after the first was done")

    def save_when_asked(number: int, context: Context) -> int:
        saved = context.scratch / f"saved-{context.peers.rank}"
        (Path(os.environ["MARKS"]) / f"pid-{context.peers.rank}").write_text(str(os.getpid()))
        if saved.exists():
            return int(saved.read_text())
        while not context.stopping():
            time.sleep(0.01)
        if context.peers.leads:
            time.sleep(0.5)  # the others are long gone
        saved.write_text(str(number))
        if context.peers.rank == 2:
            raise ConnectionError("the others are gone")
        raise Interrupted("asked to stop")

    def hoard(number: int, context: Context) -> int:
        kept = bytearray(90 << 20)
        time.sleep(600)
        return len(kept)
""")


class Bench:
    def __init__(self, place: Path) -> None:
        self.home = Home.find(place, {})
        self.artifacts = Artifacts(self.home.artifacts_url, self.home.cache)
        self.jobs = LocalJobs(self.home, self.artifacts, workers=1, grace_s=5.0)
        self.code = place / "code"
        self.code.mkdir()
        (self.code / "peer_steps.py").write_text(SOURCE)

    def job(self, function: str, number: int = 1, processes: int = 3) -> JobSpec:
        config = {"uses": f"peer_steps:{function}", "values": {"number": number}, "inputs": {}, "code": {}}
        key = digest_json([function, number, processes])
        return JobSpec(key, "run-1", function, "user", config, code_path=(str(self.code),), processes=processes)

    def ran(self, job: JobSpec) -> JobState:
        return ended(self.jobs, self.jobs.submit(job), 60)

    def log(self, job: JobSpec) -> list[str]:
        return list(self.jobs.logs(self.jobs.submit(job)).lines)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("MARKS", str(marks))
    made = Bench(tmp_path)
    yield made
    made.jobs.close()


def test_they_meet_on_one_machine(bench: Bench, tmp_path: Path) -> None:
    job = replace(job_of(tmp_path / "steps", "meet", 1), processes=3)
    state = bench.ran(job)
    assert state.phase == "succeeded", state.error
    assert value_of(bench.artifacts, job) == b"33"


def test_outputs_log_and_metrics_are_of_the_first(bench: Bench, tmp_path: Path) -> None:
    job = bench.job("say")
    state = bench.ran(job)
    assert state.phase == "succeeded", state.error
    assert {p.name: p.read_text() for p in (tmp_path / "marks").iterdir()} == {"0": "0 3 0", "1": "1 3 0", "2": "2 3 0"}
    result = finished(job.key, bench.artifacts)
    assert result is not None
    assert result.metrics == {"rank": 0.0}
    assert (bench.artifacts.materialize(result.outputs["made"]) / "rank.txt").read_text() == "0"
    lines = bench.log(job)
    assert "printed by 0" in lines
    assert not any("by 1" in line or "by 2" in line for line in lines)
    assert [event["point"]["value"] for line in lines if (event := parse(line)) and "point" in event] == [0.0]
    kept = {path.name for path in (bench.home.jobs / job.key.removeprefix("sha256:")).iterdir()}
    assert kept >= {"process-1.log", "process-2.log"}
    assert not kept & {"dropped", "scratch"}


@pytest.mark.parametrize("rank", [0, 2])
def test_one_that_fails_ends_all_with_its_error(bench: Bench, rank: int) -> None:
    state = bench.ran(bench.job("break_one", rank))
    assert state.phase == "failed"
    assert state.error is not None
    assert (state.error["message"], state.error["type"]) == (f"ValueError: {rank} cannot go on", "ValueError")
    assert "peer_steps.py:" in state.error["where"]


def test_one_that_is_killed_is_named_with_its_last_words(bench: Bench) -> None:
    state = bench.ran(bench.job("kill_one", 1))
    assert state.error is not None
    assert state.error["message"] == "process 1 of step 'kill_one' was killed by SIGKILL\nlast words"
    assert state.error["transient"] is True


def test_nothing_stands_where_another_fails_after_the_first_is_done(bench: Bench) -> None:
    job = bench.job("fail_late")
    state = bench.ran(job)
    assert state.phase == "failed"
    assert state.error is not None
    assert "after the first was done" in state.error["message"]
    assert finished(job.key, bench.artifacts) is None


def test_cancelled_all_save_and_end_and_go_on_from_there(bench: Bench, tmp_path: Path) -> None:
    job = bench.job("save_when_asked", 7)
    handle = bench.jobs.submit(job)
    marks = tmp_path / "marks"
    until(lambda: len(list(marks.iterdir())) == 3)
    pids = [int(path.read_text()) for path in marks.iterdir()]
    bench.jobs.cancel(handle)
    assert ended(bench.jobs, handle, 30).phase == "cancelled"
    assert all(birth(pid) is None for pid in pids)
    again = replace(job, attempt=2)
    assert bench.ran(again).phase == "succeeded"
    assert json.loads(value_of(bench.artifacts, again)) == 7


def test_they_end_with_the_process_that_started_them(bench: Bench, tmp_path: Path) -> None:
    uri = publish(bench.job("save_when_asked", 8, processes=2), bench.artifacts, bench.home.artifacts_url)
    environment = {**os.environ, "PENSTOCK_HOME": str(bench.home.folder)}
    marks = tmp_path / "marks"
    with subprocess.Popen([sys.executable, "-m", "penstock", "exec", uri], env=environment, stdout=subprocess.DEVNULL) as process:
        until(lambda: len(list(marks.iterdir())) == 2)
        pids = [int(path.read_text()) for path in marks.iterdir()]
        process.kill()
    until(lambda: all(birth(pid) is None for pid in pids))


def test_a_memory_limit_holds_for_the_sum(bench: Bench) -> None:
    state = bench.ran(replace(bench.job("hoard", processes=2), memory_bytes=220 << 20))
    assert state.error is not None
    assert state.error["code"] == "step-memory"
    assert (state.peak_memory_bytes or 0) > 220 << 20
