"""What a platform can never run is refused while planning; what it refuses later fails the step, not the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.control.api import start_run
from penstock.control.graph import build_graph
from penstock.control.loop import watch_run
from penstock.control.preparing import Prepared, prepare
from penstock.core.errors import DiskFull, PlatformLacks
from penstock.spec.pipeline import Pipeline
from penstock.testing.control import Bench

CODE = "def one() -> int:\n    return 1\n"


def pipeline(**resources: Any) -> Pipeline:
    return Pipeline.model_validate({"name": "p", "steps": [{"name": "one", "uses": "work:one", "resources": resources}]})


@pytest.mark.parametrize("asked", [{"gpus": 64}, {"cpus": 4096}, {"memory": "900 TB"}])
def test_more_than_the_machine_has(asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlatformLacks, match="'one' "):
        prepare(pipeline(**asked))


def test_a_refused_submission_fails_the_step_and_frees_its_key(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work.py").write_text(CODE)
    world, plain = bench.world(), pipeline()
    prepared = Prepared(plain, build_graph(plain, tmp_path, bench.home), "", bench.home)

    def full(_: object) -> None:
        raise DiskFull(f"no space left while writing {tmp_path}")

    monkeypatch.setattr(world._jobs["laptop"], "submit", full)
    run = watch_run(world, start_run(prepared, world, deploy=False).id, lambda _: None)
    assert run.phase == "failed"
    assert run.status["error"]["code"] == "disk-full"
    again = bench.world()
    done = watch_run(again, start_run(prepared, again, deploy=False).id, lambda _: None)
    assert done.phase == "succeeded", done.status
