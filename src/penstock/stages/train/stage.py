"""The train stage: a dataset and a base in, a model out. Layout of the output "model": stages/README.md."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from penstock.core.digests import digest_json
from penstock.core.errors import BadInput
from penstock.spec.pipeline import Train
from penstock.spec.steps import TrainConfig
from penstock.stages.contract import Context, Inputs, Metrics, Outputs
from penstock.stages.table import VERSIONS
from penstock.stages.train import threads
from penstock.stages.train.checkpoints import Checkpoints
from penstock.stages.train.loop import Loop, Plan, Progress
from penstock.stages.train.precision import Compute, pick_compute
from penstock.stages.train.schedule import Schedule
from penstock.stages.train.team import gathered
from penstock.stages.train.trainee import Trainee
from penstock.stages.train.weights import Weights
from penstock.stages.train.written import quietly


class TrainStage:
    """Raises BadInput or DataUnusable before any step, StepFailed when the loss is no number, Interrupted when asked to stop."""

    name = "train"
    version = VERSIONS["train"]

    def run(self, config: TrainConfig, inputs: Inputs, outputs: Outputs, context: Context) -> Metrics:
        started = time.monotonic()
        check(config)
        peers = context.peers
        compute = pick_compute(config.train.precision, peers.local if peers.size > 1 else None)
        with gathered(peers, compute.device) as team, repeatable(), quietly():
            count = threads.agreed(team, context)
            trainee = build(config, inputs, compute)
            settled = Settled.of(config, trainee, compute, count, peers.size)
            named = settled.digest(inputs.digest("dataset"))
            team.agree(named, "settings (precision, device, data, version of torch)")
            context.log(settled.told())
            weights = Weights(trainee.model, compute.dtype, trainee.choices.recipe(config.train.weight_decay))
            team.level(weights.master)
            weights.publish()
            checkpoints = Checkpoints(context.scratch, named, context.log)
            loop = Loop(trainee.work, weights, settled.schedule, settled.plan, checkpoints, context, team, config.train.seed)
            done = loop.run()
            if not team.leads:
                return {}
            weights.finish(loop.best_weights())
            folder = outputs.folder("model", "model")
            trainee.save(folder)
        (folder / "training.json").write_text(json.dumps(settled.as_json() | {"curve": done.curve, "best": done.best}, indent=1))
        outputs.describe("model", **described(config, trainee))
        return summary(done, settled) | {"samples_per_s": loop.speed, "seconds": time.monotonic() - started}


def check(config: TrainConfig) -> None:
    """Raises BadInput for what cannot be combined."""
    train, generation = config.train, config.task == "text-generation"
    if train.method.pretrain and not generation:
        raise BadInput("train.method is pretrain, which needs task: text-generation; classification fine-tunes a base with full or lora")
    if not train.method.pretrain and config.base_digest is None:
        raise BadInput(
            f"train.method is {train.method.name}, which needs `train.base`", remedy="Set `base: minilm`, a local folder or a hub id."
        )
    if generation and train.early_stopping and train.early_stopping.metric != "loss":
        raise BadInput(f"early_stopping.metric is {train.early_stopping.metric}; text-generation has only loss")


def build(config: TrainConfig, inputs: Inputs, compute: Compute) -> Trainee:
    from penstock.stages.train import decoder, encoder

    base = inputs.external(config.base_digest) if config.base_digest else None
    if config.task == "text-generation":
        return decoder.build(base, inputs.folder("dataset"), config.train, compute)
    assert base is not None
    return encoder.build(base, inputs.folder("dataset"), config.train, compute)


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """Only algorithms that give the same bits each time; the process is left as it was."""
    before, filled = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = False  # it writes every buffer twice
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


@dataclass(frozen=True, slots=True)
class Settled:
    """Every choice made, of the file or of the method."""

    config: TrainConfig
    facts: dict[str, Any]
    schedule: Schedule
    plan: Plan

    @classmethod
    def of(cls, config: TrainConfig, trainee: Trainee, compute: Compute, thread_count: int, processes: int = 1) -> Settled:
        """Raises BadInput for a batch that does not go round."""
        train, choices = config.train, trainee.choices
        if trainee.batch_size < processes:
            raise BadInput(
                f"a batch of {trainee.batch_size} leaves some of {processes} processes without a row",
                remedy="Raise `train.batch_size`, which is of all processes together, or lower `processes`.",
            )
        per_epoch = len(trainee.work.epoch(0))
        steps = train.steps or max(1, math.ceil((train.epochs or choices.epochs) * per_epoch))
        schedule = Schedule(train.learning_rate or choices.learning_rate, steps, train.warmup, choices.decay, choices.floor)
        plan = plan_of(train, choices.metric, steps, per_epoch, choices.evaluations)
        facts = {
            "steps": steps,
            "batch_size": trainee.batch_size,
            "max_length": trainee.max_length,
            "learning_rate": schedule.peak,
            "warmup": train.warmup,
            "decay": schedule.shape,
            "weight_decay": train.weight_decay,
            "dropout": choices.dropout if train.dropout is None else train.dropout,
            "label_smoothing": train.label_smoothing,
            "seed": train.seed,
            "best_by": plan.metric,
            "precision": compute.name,
            "device": compute.device.type,
            "threads": thread_count,
        }
        facts |= {"processes": processes} if processes > 1 else {}
        return cls(config, facts, schedule, plan)

    def told(self) -> str:
        return f"{self.config.train.method.name}: " + ", ".join(f"{name} {value}" for name, value in self.facts.items())

    def as_json(self) -> dict[str, Any]:
        options = getattr(self.config.train.method, self.config.train.method.name).model_dump(mode="json")
        return {"task": self.config.task, "method": {self.config.train.method.name: options}, "settings": self.facts}

    def digest(self, dataset: str) -> str:
        """Names what is trained, so that a checkpoint of anything else is passed over."""
        return digest_json([self.as_json(), self.config.base_digest, dataset, torch.__version__])


def plan_of(train: Train, metric: str, steps: int, per_epoch: int, evaluations: int) -> Plan:
    stopping = train.early_stopping
    return Plan(
        steps=steps,
        steps_per_epoch=per_epoch,
        evaluate_every=max(1, min(per_epoch, math.ceil(steps / evaluations))),
        metric=stopping.metric if stopping else metric,
        patience=stopping.patience if stopping else None,
        checkpoint_every_s=train.checkpoint_every,
    )


def described(config: TrainConfig, trainee: Trainee) -> dict[str, Any]:
    return {
        "task": config.task,
        "architecture": trainee.model.config.architectures[0],
        "parameters": trainee.model.num_parameters(),
        "method": config.train.method.name,
        "max_length": trainee.max_length,
    }


def summary(done: Progress, settled: Settled) -> dict[str, float]:
    """Metrics of the best weights."""
    best = {name: value for name, value in (done.best or {}).items() if "." in name}
    return best | {"epochs": done.step / settled.plan.steps_per_epoch, "steps": float(done.step)}
