"""How local jobs end that do not end by themselves: limits, signals, a control process that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.errors import PlatformLacks
from penstock.core.home import Home
from penstock.platforms.contract import JobSpec
from penstock.platforms.local.jobs import LocalJobs
from penstock.platforms.local.process import alive, birth
from penstock.store.artifacts import Artifacts
from penstock.testing.jobs_suite import ended, until, user_job

SOURCE = textwrap.dedent("""
    import os, signal, subprocess, sys, time
    from penstock.stages.user.types import Context

    def sleep(number: int) -> None:
        print("asleep", os.getpid(), flush=True)
        time.sleep(60)

    def stubborn(number: int, context: Context) -> None:
        print("asleep", os.getpid(), flush=True)
        while True:
            time.sleep(1)

    def hoard(number: int) -> None:
        kept = []
        while True:
            kept.append(bytearray(20_000_000))
            time.sleep(0.01)

    def hoard_in_child(number: int) -> None:
        subprocess.run([sys.executable, "-c", "import time; kept = bytearray(400_000_000); time.sleep(60)"])

    def segfault(number: int) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def leave(number: int) -> None:
        os._exit(7)

    def leave_child(number: int) -> None:
        child = subprocess.Popen(["sleep", "60"])
        print("child", child.pid, flush=True)
        time.sleep(60)

    def pollute(number: int) -> None:
        os.environ["POLLUTED"] = "1"
        os.chdir("/")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def look(number: int) -> dict[str, str]:
        return {"folder": os.getcwd(), "polluted": os.environ.get("POLLUTED", ""), "pid": str(os.getpid())}
""")


class Bench:
    """Local jobs over a fresh home, and jobs of SOURCE's functions."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.home = Home.find(place, {})
        self.artifacts = Artifacts(self.home.artifacts_url, self.home.cache)
        self.jobs = LocalJobs(self.home, self.artifacts, workers=2, grace_s=0.5)

    def job(self, function: str, number: int = 1, **more: object) -> JobSpec:
        made = user_job(self.place / "code", function, {"number": number}, **more)
        (self.place / "code" / "limit_steps.py").write_text(SOURCE)
        config = {**made.config, "uses": f"limit_steps:{function}"}
        return JobSpec(**{**{name: getattr(made, name) for name in made.__dataclass_fields__}, "config": config})


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.jobs.close()


def pid_said(bench: Bench, handle: object) -> int:
    line = until(lambda: bench.jobs.logs(handle).lines)[0]
    return int(line.split()[1])


def test_timeout_stops_and_says_the_limit(bench: Bench) -> None:
    began = time.monotonic()
    state = ended(bench.jobs, bench.jobs.submit(bench.job("sleep", timeout_s=0.3)))
    assert state.phase == "failed"
    assert state.error["code"] == "step-timeout"
    assert "300 ms" in state.error["message"]
    assert state.error["transient"] is False
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("function", ["hoard", "hoard_in_child"])
def test_memory_limit_kills_and_says_limit_and_peak(bench: Bench, function: str) -> None:
    limit = 200 << 20
    state = ended(bench.jobs, bench.jobs.submit(bench.job(function, memory_bytes=limit)))
    assert state.phase == "failed"
    assert state.error["code"] == "step-memory"
    assert "200.0 MiB" in state.error["message"]
    assert state.peak_memory_bytes > limit


def test_cancel_interrupts_a_function_that_does_not_look(bench: Bench) -> None:
    handle = bench.jobs.submit(bench.job("sleep"))
    pid_said(bench, handle)
    bench.jobs.cancel(handle)
    assert ended(bench.jobs, handle, 5).phase == "cancelled"


def test_cancel_kills_what_does_not_listen_and_the_worker_is_replaced(bench: Bench) -> None:
    handle = bench.jobs.submit(bench.job("stubborn"))
    pid = pid_said(bench, handle)
    bench.jobs.cancel(handle)
    assert ended(bench.jobs, handle, 10).phase == "cancelled"
    until(lambda: birth(pid) is None)
    assert ended(bench.jobs, bench.jobs.submit(bench.job("look"))).phase == "succeeded"


def test_queued_job_is_cancelled_without_starting(bench: Bench) -> None:
    running = [bench.jobs.submit(bench.job("sleep", number)) for number in (1, 2)]
    queued = bench.jobs.submit(bench.job("sleep", 3))
    assert bench.jobs.observe(queued).phase == "pending"
    bench.jobs.cancel(queued)
    assert bench.jobs.observe(queued).phase == "cancelled"
    for handle in running:
        bench.jobs.cancel(handle)
        assert ended(bench.jobs, handle).phase == "cancelled"


def test_killed_worker_is_named_by_signal_and_transient_once(bench: Bench) -> None:
    first = ended(bench.jobs, bench.jobs.submit(bench.job("segfault")))
    assert "SIGSEGV" in first.error["message"]
    assert first.error["transient"] is True
    second = ended(bench.jobs, bench.jobs.submit(bench.job("segfault", attempt=2)))
    assert second.error["transient"] is False


def test_exit_of_the_process_is_a_failure(bench: Bench) -> None:
    state = ended(bench.jobs, bench.jobs.submit(bench.job("leave")))
    assert state.phase == "failed"
    assert "exit code 7" in state.error["message"]


def test_one_job_leaves_nothing_to_the_next(bench: Bench) -> None:
    seen = []
    for number, function in enumerate(["look", "pollute", "look"]):
        state = ended(bench.jobs, bench.jobs.submit(bench.job(function, number)))
        assert state.phase == "succeeded", state.error
        if state.result.outputs:
            seen.append((bench.artifacts.materialize(state.result.outputs["value"]) / "value.json").read_text())
    assert seen[0] == seen[1]  # the same worker, folder and environment


def test_what_a_job_started_ends_with_it(bench: Bench) -> None:
    handle = bench.jobs.submit(bench.job("leave_child"))
    child = pid_said(bench, handle)
    bench.jobs.cancel(handle)
    ended(bench.jobs, handle)
    until(lambda: birth(child) is None, 5)


def test_closed_pool_stops_what_runs_and_takes_nothing(bench: Bench) -> None:
    handle = bench.jobs.submit(bench.job("sleep"))
    pid = pid_said(bench, handle)
    bench.jobs.close()
    bench.jobs.close()
    assert birth(pid) is None
    for known in (handle, bench.jobs.submit(bench.job("look"))):
        assert bench.jobs.observe(known).error["type"] == "WorkerLost"


def test_more_than_the_machine_has_is_refused(bench: Bench) -> None:
    for more in ({"cpus": 4096}, {"gpus": 64}, {"memory_bytes": 1 << 60}):
        with pytest.raises(PlatformLacks, match="this machine has"):
            bench.jobs.submit(bench.job("sleep", **more))


CONTROL = textwrap.dedent("""
    import sys, time
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from test_local_limits import Bench
    bench = Bench(Path({place!r}))
    handles = [bench.jobs.submit(bench.job("leave_child")), bench.jobs.submit(bench.job("stubborn"))]
    print("submitted", flush=True)
    time.sleep(60)
""")


def test_kill_of_the_control_process_leaves_nothing_computing(tmp_path: Path) -> None:
    script = CONTROL.format(tests=str(Path(__file__).parent), place=str(tmp_path))
    control = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    bench = Bench(tmp_path)
    assert control.stdout.readline() == b"submitted\n"
    jobs = [bench.job("leave_child"), bench.job("stubborn")]
    handles = [bench.jobs.submit(job) for job in jobs]  # joins what runs elsewhere
    pids = [pid_said(bench, handle) for handle in handles]
    assert [bench.jobs.observe(handle).phase for handle in handles] == ["running", "running"]
    born = {pid: birth(pid) for pid in pids}
    control.send_signal(signal.SIGKILL)
    control.wait()
    control.stdout.close()
    until(lambda: not any(alive(pid, mark) for pid, mark in born.items()), 5)
    until(lambda: bench.jobs.observe(handles[0]).phase == "failed", 5)  # its worker dies at the same moment as its child
    lost = bench.jobs.observe(handles[0])
    assert (lost.phase, lost.error["type"], lost.error["transient"]) == ("failed", "WorkerLost", True)
    bench.jobs.close()


def test_job_of_another_process_can_be_cancelled(tmp_path: Path) -> None:
    owner, other = Bench(tmp_path), Bench(tmp_path)
    handle = owner.jobs.submit(owner.job("sleep"))
    pid = pid_said(owner, handle)
    other.jobs.cancel(handle)
    assert ended(owner.jobs, handle, 5).phase == "cancelled"
    assert other.jobs.observe(handle).phase == "cancelled"
    assert os.getpid() != pid
    owner.jobs.close()
    other.jobs.close()
