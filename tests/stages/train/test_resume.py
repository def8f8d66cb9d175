"""Killed at any instant and started again, training gives the bytes of a run that was never disturbed."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from pathlib import Path

import pytest

from penstock.core.digests import digest_file, digest_folder
from penstock.core.errors import Interrupted
from penstock.spec.pipeline import Train
from penstock.spec.steps import TrainConfig
from penstock.stages.train.stage import TrainStage
from penstock.testing.stages import FolderInputs, FolderOutputs, RecordingContext, run_stage

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
KILLS = 4
PRELOADED = [
    "penstock.testing.stages",
    "penstock.stages.train.encoder",
    "penstock.stages.train.decoder",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.llama.modeling_llama",
    "sklearn.metrics",
    "pyarrow.parquet",
    "peft",
]
SMALL = {"layers": 2, "hidden": 32, "heads": 2, "context": 16, "vocabulary": 300}


@pytest.fixture(scope="module")
def processes():
    """Children of a process that has imported torch but never used it: each starts in a moment and may be killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@pytest.fixture(params=["encoder", "lora", "decoder"])
def job(request, intents: Path, verses: Path, tiny_encoder: Path) -> tuple[TrainConfig, FolderInputs]:
    if request.param == "decoder":
        train = Train.model_validate({"method": {"pretrain": SMALL}, "epochs": 6, "batch_size": 4, "checkpoint_every": 0.0})
        return TrainConfig(task="text-generation", base_digest=None, train=train), FolderInputs({"dataset": verses})
    method = "full" if request.param == "encoder" else {"lora": {"rank": 4, "dropout": 0.1}}
    train = Train.model_validate({"method": method, "epochs": 5, "batch_size": 12, "checkpoint_every": 0.0})
    base = digest_folder(tiny_encoder)
    config = TrainConfig(task="text-classification", base_digest=base, train=train)
    return config, FolderInputs({"dataset": intents}, externals={base: tiny_encoder})


def started(processes, job, root: Path):
    shutil.rmtree(root / "outputs", ignore_errors=True)
    child = processes.Process(target=run_stage, args=(TrainStage(), job[0], root, job[1]))
    child.start()
    return child


def newest_step(scratch: Path) -> int:
    return max((int(folder.name.removeprefix("step-")) for folder in scratch.glob("step-*")), default=0)


def kill_beyond(child, scratch: Path, step: int, wait_s: float) -> bool:
    """Kills `child` a moment after it saved a checkpoint of at least `step`; False when it was quicker and is done."""
    while child.exitcode is None and newest_step(scratch) < step:
        child.join(0.002)
    time.sleep(wait_s)
    child.kill()
    child.join()
    return bool(child.exitcode)


@pytest.mark.timeout(280)
def test_kill_at_random_moments_then_the_same_bytes(processes, job, tmp_path):
    whole = started(processes, job, tmp_path / "whole")
    draw, scratch, kills = random.Random(str(tmp_path)), tmp_path / "killed/context/scratch", 0
    for _ in range(KILLS):
        child = started(processes, job, tmp_path / "killed")
        kills += kill_beyond(child, scratch, newest_step(scratch) + draw.randint(1, 12), draw.uniform(0, 0.1))
    last = started(processes, job, tmp_path / "killed")
    for child in (whole, last):
        child.join()
        assert child.exitcode == 0
    assert kills == KILLS
    assert digest_folder(tmp_path / "killed/outputs/model") == digest_folder(tmp_path / "whole/outputs/model")


def test_asked_to_stop_it_saves_and_goes_on_later(job, tmp_path):
    config, inputs = job
    expected = run_stage(TrainStage(), config, tmp_path / "whole", inputs)
    context = RecordingContext(tmp_path / "stopped", stop_after=3)
    with pytest.raises(Interrupted, match="step 4 of"):
        TrainStage().run(config, inputs, FolderOutputs(tmp_path / "first"), context)
    resumed = RecordingContext(tmp_path / "stopped")
    outputs = FolderOutputs(tmp_path / "second")
    TrainStage().run(config, inputs, outputs, resumed)
    assert any("resumed at step 4 of" in line for line in resumed.logs)
    assert digest_file(outputs.root / "model/model.safetensors") == digest_file(expected.outputs.root / "model/model.safetensors")
