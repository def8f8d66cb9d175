"""Kills at random moments converge: a step that writes checkpoints ends with the same bytes, however often it is killed."""

from __future__ import annotations

import os
import random
import signal
import textwrap
import time
from pathlib import Path

from penstock.core.digests import digest_json
from penstock.core.home import Home
from penstock.platforms.contract import JobSpec
from penstock.platforms.jobs_codec import finished
from penstock.platforms.local.jobs import LocalJobs
from penstock.platforms.local.layout import attempt_folder
from penstock.store.artifacts import Artifacts
from penstock.testing.jobs_suite import ENDED, ended, until

KILLS = 50
SOURCE = textwrap.dedent("""
    import hashlib, json, os, time
    from penstock.stages.user.types import Context, Output

    def train(seed: int, steps: int, model: Output, context: Context) -> dict[str, int]:
        place = context.scratch / "checkpoint.json"
        state = json.loads(place.read_text()) if place.exists() else {"step": 0, "weights": str(seed)}
        while state["step"] < steps:
            state = {"step": state["step"] + 1, "weights": hashlib.sha256(state["weights"].encode()).hexdigest()}
            time.sleep(0.004)
            beside = place.with_suffix(".part")
            beside.write_text(json.dumps(state))
            os.replace(beside, place)
        for number in range(20):
            (model / f"shard-{number}.txt").write_text(state["weights"] * 50)
        return {"steps": state["step"]}
""")


def job(place: Path, seed: int, attempt: int) -> JobSpec:
    (place / "code").mkdir(exist_ok=True)
    (place / "code" / "resume_steps.py").write_text(SOURCE)
    config = {"uses": "resume_steps:train", "values": {"seed": seed, "steps": 500}, "inputs": {}, "code": {}}
    return JobSpec(digest_json(config), "run-1", "train", "user", config, code_path=(str(place / "code"),), attempt=attempt)


def stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def test_fifty_kills_converge_to_the_same_artifacts(tmp_path: Path) -> None:
    moments = random.Random(7)
    home = Home.find(tmp_path, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    jobs = LocalJobs(home, artifacts, workers=1)
    kills = resumed = seeds = 0
    while kills < KILLS:
        attempt, phase = 0, ""
        while phase != "succeeded":
            attempt += 1
            handle = jobs.submit(job(tmp_path, seeds, attempt))
            checkpoint = attempt_folder(home.jobs, handle.key, attempt).parent / "scratch" / "checkpoint.json"
            before = stamp(checkpoint)
            resumed += before > 0
            if kills < KILLS:
                if moments.random() < 0.7:  # else while the worker is still starting
                    # An attempt given to a worker that was killed a moment ago ends without touching its checkpoint.
                    until(lambda: stamp(checkpoint) != before or jobs.observe(handle).phase in ENDED)  # noqa: B023
                time.sleep(moments.uniform(0.0, 0.1))
                for worker in list(jobs._pool._workers):
                    os.kill(worker.pid, signal.SIGKILL)
                    kills += 1
            phase = ended(jobs, handle).phase
        seeds += 1
    jobs.close()
    assert resumed > KILLS // 4  # the kills did hit the middle of the work

    fresh = Artifacts(home.artifacts_url, tmp_path / "other-cache")
    (tmp_path / "quiet").mkdir()
    quiet_home = Home.find(tmp_path / "quiet", {})
    quiet = LocalJobs(quiet_home, Artifacts(quiet_home.artifacts_url, quiet_home.cache), workers=2)
    for handle in [quiet.submit(job(tmp_path, seed, 1)) for seed in range(seeds)]:
        expected, found = ended(quiet, handle).result, finished(handle.key, fresh)
        assert found is not None
        assert found.outputs == expected.outputs
        for digest in found.outputs.values():
            fresh.verify(digest)
    quiet.close()
