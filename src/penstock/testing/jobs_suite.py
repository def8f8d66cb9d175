"""The conformance suite of Jobs: `class TestMyJobs(JobsConformance)` with `open` and `crash`; its tests are plain pytest tests."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from penstock.core.digests import digest_json
from penstock.core.errors import NotFound
from penstock.core.home import Home
from penstock.platforms.contract import JobHandle, Jobs, JobSpec, JobState, LogPage
from penstock.platforms.jobs_codec import finished
from penstock.store.artifacts import Artifacts
from penstock.testing.patience import PATIENT_S

ENDED = ("succeeded", "failed", "cancelled")
STEPS = textwrap.dedent("""
    import time
    from penstock.core.errors import Interrupted, StepTransient
    from penstock.stages.user.types import Context, Metrics, Output

    def double(number: int) -> int:
        return 2 * number

    def measure(number: int, context: Context) -> Metrics:
        context.log("measuring")
        context.point("loss", 0.5, 1)
        return {"number": number}

    def write(text: str, made: Output) -> None:
        (made / "text.txt").write_text(text)

    def fail(number: int) -> int:
        return number // 0

    def fail_for_now(number: int) -> int:
        raise StepTransient("the service is away")

    def wait(number: int, context: Context) -> int:
        context.log("waiting")
        while not context.stopping():
            time.sleep(0.005)
        raise Interrupted("asked to stop")

    def count(number: int, until: int, context: Context) -> int:
        counted = context.scratch / "counted"
        while (at := int(counted.read_text()) if counted.exists() else 0) < until:
            counted.write_text(str(at + 1))
            context.log(f"counted {at + 1}")
            if at + 1 == number:
                while not context.stopping():
                    time.sleep(0.005)
                raise Interrupted("asked to stop")
        return at
""")


def user_job(code: Path, function: str, values: Mapping[str, Any], **more: Any) -> JobSpec:
    """A job of one function of STEPS; its key follows from function and values."""
    code.mkdir(parents=True, exist_ok=True)
    (code / "conformance_steps.py").write_text(STEPS)
    config = {"uses": f"conformance_steps:{function}", "values": dict(values), "inputs": {}, "code": {}}
    job = JobSpec(digest_json([function, dict(values)]), "run-1", function, "user", config, code_path=(str(code),))
    return replace(job, **more)


def home_in(place: Path, bucket: Callable[[], str] | None) -> Home:
    return Home.find(place, {} if bucket is None else {"PENSTOCK_ARTIFACTS": f"{bucket()}/store"})


def ended(jobs: Jobs, handle: JobHandle, within_s: float = PATIENT_S) -> JobState:
    """The state at the end of a job. Raises AssertionError when it takes longer."""
    until(lambda: jobs.observe(handle).phase in ENDED, within_s, jobs.wait)
    return jobs.observe(handle)


def until(look: Callable[[], Any], within_s: float = PATIENT_S, wait: Callable[[float], object] = time.sleep) -> Any:
    """The first true value of `look`."""
    deadline = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"did not happen within {within_s:g} s"
        wait(0.02)
    return seen


class JobsConformance:
    """What any Jobs must do. A subclass says how to open one over a home, and how its control process crashes.

    `bucket`: the URL of a new one, where artifacts do not lie on this machine.
    """

    bucket: Callable[[], str] | None = None

    def open(self, home: Home, artifacts: Artifacts) -> Jobs:
        raise NotImplementedError

    def crash(self, jobs: Jobs) -> None:
        raise NotImplementedError

    def _opened(self, place: Path) -> tuple[Jobs, Artifacts, Home]:
        home = home_in(place, self.bucket)
        artifacts = Artifacts(home.artifacts_url, home.cache)
        return self.open(home, artifacts), artifacts, home

    def test_value_becomes_an_artifact(self, tmp_path: Path) -> None:
        jobs, artifacts, _ = self._opened(tmp_path)
        state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 21})))
        assert state.phase == "succeeded", state.error
        assert state.result is not None
        assert (artifacts.materialize(state.result.outputs["value"]) / "value.json").read_bytes() == b"42"
        assert state.started_at is not None
        jobs.close()

    def test_metrics_and_folders(self, tmp_path: Path) -> None:
        jobs, artifacts, _ = self._opened(tmp_path)
        measured = ended(jobs, jobs.submit(user_job(tmp_path / "code", "measure", {"number": 3})))
        written = ended(jobs, jobs.submit(user_job(tmp_path / "code", "write", {"text": "hello"})))
        assert measured.result is not None
        assert measured.result.metrics == {"number": 3.0}
        assert written.result is not None
        assert (artifacts.materialize(written.result.outputs["made"]) / "text.txt").read_text() == "hello"
        jobs.close()

    def test_submit_is_idempotent(self, tmp_path: Path) -> None:
        jobs, artifacts, _ = self._opened(tmp_path)
        job = user_job(tmp_path / "code", "double", {"number": 1})
        handles = {jobs.submit(job) for _ in range(5)}
        assert len(handles) == 1
        first = ended(jobs, handles.pop())
        again = jobs.observe(jobs.submit(job))
        assert (again.phase, again.result) == ("succeeded", first.result)
        assert finished(job.key, artifacts) == first.result
        jobs.close()

    def test_finished_key_is_not_run_again(self, tmp_path: Path) -> None:
        jobs, _, _ = self._opened(tmp_path)
        job = user_job(tmp_path / "code", "double", {"number": 2})
        first = ended(jobs, jobs.submit(job))
        second = ended(jobs, jobs.submit(replace(job, attempt=2, run="run-2")))
        assert second.result == first.result  # the seconds too: it is the first run's marker
        jobs.close()

    def test_failing_job_says_why_and_where(self, tmp_path: Path) -> None:
        jobs, _, _ = self._opened(tmp_path)
        job = user_job(tmp_path / "code", "fail", {"number": 1})
        handle = jobs.submit(job)
        state = ended(jobs, handle)
        assert state.phase == "failed"
        assert state.error is not None
        assert (state.error["type"], state.error["transient"]) == ("ZeroDivisionError", False)
        assert "conformance_steps.py" in str(state.error["where"])
        assert jobs.observe(jobs.submit(job)).phase == "failed"  # the same attempt of the same run
        jobs.close()

    def test_transient_failure_is_told(self, tmp_path: Path) -> None:
        jobs, _, _ = self._opened(tmp_path)
        state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "fail_for_now", {"number": 1})))
        assert state.error is not None
        assert (state.error["code"], state.error["transient"]) == ("step-transient", True)
        jobs.close()

    def test_new_run_may_try_again_what_failed(self, tmp_path: Path) -> None:
        jobs, _, _ = self._opened(tmp_path)
        job = user_job(tmp_path / "code", "fail", {"number": 5})
        ended(jobs, jobs.submit(job))
        mended = STEPS.replace("number // 0", "number")
        (tmp_path / "code" / "conformance_steps.py").write_text(mended)
        assert ended(jobs, jobs.submit(replace(job, run="run-2"))).phase == "succeeded"
        jobs.close()

    def test_bad_arguments_are_refused(self, tmp_path: Path) -> None:
        jobs, _, _ = self._opened(tmp_path)
        state = ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"numbr": 1})))
        assert state.error is not None
        assert state.error["code"] == "bad-input"
        assert "did you mean 'number'" in str(state.error["message"])
        jobs.close()

    def test_log_is_read_in_whole_lines_from_a_cursor(self, tmp_path: Path) -> None:
        jobs, _, _ = self._opened(tmp_path)
        handle = jobs.submit(user_job(tmp_path / "code", "measure", {"number": 1}))
        ended(jobs, handle)
        page = jobs.logs(handle)
        assert any('"log"' in line for line in page.lines)
        assert any('"point"' in line for line in page.lines)
        assert all(line.startswith("::penstock {") for line in page.lines)
        assert jobs.logs(handle, page.cursor) == LogPage((), page.cursor)
        jobs.close()

    def test_cancel_ends_a_job_once(self, tmp_path: Path) -> None:
        jobs, _, _ = self._opened(tmp_path)
        handle = jobs.submit(user_job(tmp_path / "code", "wait", {"number": 1}))
        until(lambda: jobs.logs(handle).lines)
        jobs.cancel(handle)
        jobs.cancel(handle)
        assert ended(jobs, handle).phase == "cancelled"
        jobs.close()

    def test_finished_job_stays_finished(self, tmp_path: Path) -> None:
        jobs, _, _ = self._opened(tmp_path)
        handle = jobs.submit(user_job(tmp_path / "code", "double", {"number": 4}))
        before = ended(jobs, handle)
        jobs.cancel(handle)
        assert jobs.observe(handle) == before
        jobs.close()

    def test_crash_is_seen_and_work_goes_on_from_scratch(self, tmp_path: Path) -> None:
        jobs, artifacts, home = self._opened(tmp_path)
        done = jobs.submit(user_job(tmp_path / "code", "double", {"number": 6}))
        ended(jobs, done)
        job = user_job(tmp_path / "code", "count", {"number": 3, "until": 5})
        handle = jobs.submit(job)
        until(lambda: any("counted 3" in line for line in jobs.logs(handle).lines))
        self.crash(jobs)
        after = self.open(home, artifacts)
        assert after.observe(done).phase == "succeeded"
        lost = after.observe(handle)
        assert (lost.phase, (lost.error or {}).get("transient")) == ("failed", True)
        state = ended(after, after.submit(job))
        assert state.phase == "succeeded", state.error
        assert any("counted 5" in line for line in after.logs(handle).lines)
        assert not any("counted 3" in line for line in after.logs(handle).lines)
        after.close()

    def test_unknown_job_is_not_found(self, tmp_path: Path) -> None:
        jobs, _, _ = self._opened(tmp_path)
        try:
            jobs.observe(JobHandle("local", "sha256:" + "0" * 64, "0" * 64 + "/1"))
        except NotFound:
            jobs.close()
        else:
            raise AssertionError("a job that was never submitted was observed")
