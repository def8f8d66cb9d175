"""The train stage: a dataset and a base in, a model out."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from penstock.core.digests import digest_json
from penstock.core.errors import BadInput
from penstock.spec.steps import TrainConfig
from penstock.stages.contract import Context, Inputs, Metrics, Outputs
from penstock.stages.table import VERSIONS
from penstock.stages.train import encoder
from penstock.stages.train.checkpoints import Checkpoints
from penstock.stages.train.loop import Loop, Plan, Progress
from penstock.stages.train.precision import Compute, pick_compute
from penstock.stages.train.schedule import Schedule
from penstock.stages.train.weights import Weights

EPOCHS, PEAK = 6.0, 4e-4


class TrainStage:
    """Output "model": layout in stages/README.md."""

    name = "train"
    version = VERSIONS["train"]

    def run(self, config: TrainConfig, inputs: Inputs, outputs: Outputs, context: Context) -> Metrics:
        started = time.monotonic()
        train, compute = config.train, pick_compute(config.train.precision)
        torch.set_num_threads(max(1, context.threads))
        torch.use_deterministic_algorithms(True, warn_only=True)
        made = self._build(config, inputs, compute)
        per_epoch = len(made.work.epoch(0))
        steps = train.steps or max(1, math.ceil((train.epochs or EPOCHS) * per_epoch))
        stopping = train.early_stopping
        plan = Plan(
            steps,
            per_epoch,
            per_epoch,
            stopping.metric if stopping else "accuracy",
            stopping.patience if stopping else None,
            train.checkpoint_every,
        )
        weights = Weights(made.model, compute.dtype, made.recipe(train))
        schedule = Schedule(train.learning_rate or PEAK, steps, train.warmup)
        settings = {"config": config.model_dump(mode="json"), "dataset": inputs.digest("dataset"), "compute": compute.name, "steps": steps}
        loop = Loop(made.work, weights, schedule, plan, Checkpoints(context.scratch, digest_json(settings), context.log), context)
        done = loop.run()
        assert loop.best is not None and done.best is not None
        weights.finish(loop.best)
        folder = outputs.folder("model", "model")
        made.save(folder)
        self._describe(folder, config, outputs, made, compute, done, schedule)
        best = {k: v for k, v in done.best.items() if "." in k}
        return best | {"samples_per_s": loop.speed, "epochs": done.step / per_epoch, "seconds": time.monotonic() - started}

    def _build(self, config: TrainConfig, inputs: Inputs, compute: Compute) -> Any:
        if config.base_digest is None:
            raise BadInput("train.base is needed for this method")
        return encoder.build(inputs.external(config.base_digest), inputs.folder("dataset"), config.train, compute)

    def _describe(
        self, folder: Path, config: TrainConfig, outputs: Outputs, made: Any, compute: Compute, done: Progress, schedule: Schedule
    ) -> None:
        facts = {
            "task": config.task,
            "method": config.train.method.name,
            "settings": {
                "steps": schedule.steps,
                "learning_rate": schedule.peak,
                "batch_size": made.work.batch,
                "max_length": made.work.limit,
                "precision": compute.name,
                "device": compute.device.type,
                "seed": config.train.seed,
            },
            "curve": done.curve,
            "best": done.best,
        }
        (folder / "training.json").write_text(json.dumps(facts, indent=1))
        outputs.describe(
            "model",
            task=config.task,
            architecture=type(made.model).__name__,
            parameters=sum(p.numel() for p in made.model.parameters()),
            method=config.train.method.name,
            max_length=made.work.limit,
        )
