"""The training loop: steps, evaluations, best weights, checkpoints, stop and resume. Knows nothing of the kind of model.

A run that is killed at any instant and started again gives the same weights, bit for bit, as one that was not: the order of
the data follows from seed and epoch, and a checkpoint holds everything else that the next step depends on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from penstock.core.errors import Interrupted, StepFailed
from penstock.stages.contract import Context
from penstock.stages.train.checkpoints import Checkpoint, Checkpoints
from penstock.stages.train.schedule import Schedule
from penstock.stages.train.team import Team
from penstock.stages.train.weights import Weights

REPORTS = 200  # points of a curve of the training loss, at most about this many


class Work(Protocol):
    """What is trained, and on what."""

    model: nn.Module
    unit: str  # of progress: "samples", "tokens"

    def epoch(self, number: int) -> Sequence[Any]:
        """Batches of that epoch; follows from the seed and the number alone."""
        ...

    def loss(self, batch: Any) -> tuple[torch.Tensor, int]:
        """Mean loss of a batch as a float32 scalar, and how many units it holds."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Metrics of the validation split; has "loss"."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """`patience` None: never stops early. `metric` decides what is best; only "loss" is better when lower."""

    steps: int
    steps_per_epoch: int
    evaluate_every: int  # steps
    metric: str
    patience: int | None
    checkpoint_every_s: float

    def better(self, new: float, old: float | None) -> bool:
        return old is None or (new < old if self.metric == "loss" else new > old)


@dataclass(slots=True)
class Progress:
    """Where training stands; JSON, and part of every checkpoint."""

    step: int = 0
    units: int = 0
    losses: float = 0.0  # sum over the steps since the last evaluation
    counted: int = 0
    best: dict[str, float] | None = None
    since_best: int = 0
    stopped: bool = False
    curve: list[dict[str, float]] = field(default_factory=list)


@dataclass(slots=True)
class Loop:
    work: Work
    weights: Weights
    schedule: Schedule
    plan: Plan
    checkpoints: Checkpoints
    context: Context
    team: Team = field(default_factory=Team)
    seed: int = 0
    now: Progress = field(default_factory=Progress)
    best: torch.Tensor | None = None
    speed: float = 0.0  # units per second of this attempt

    def run(self) -> Progress:
        """Trains to the end. Raises Interrupted (after a checkpoint) or StepFailed (the loss is no number)."""
        self._resume()
        started = saved_at = time.monotonic()
        already = self.now.units
        while not self._over():
            epoch, position = divmod(self.now.step, self.plan.steps_per_epoch)
            for batch in self.work.epoch(epoch)[position:]:
                self._step(batch)
                self.speed = (self.now.units - already) / max(1e-9, time.monotonic() - started)
                judged = self.now.step % self.plan.evaluate_every == 0 or self.now.step == self.plan.steps
                if judged:
                    self._evaluate()
                asked = self.team.total(self.context.stopping())[0] > 0 and not self._over()
                if judged or asked or time.monotonic() - saved_at >= self.plan.checkpoint_every_s:
                    self._save()
                    saved_at = time.monotonic()
                if asked:
                    raise Interrupted(f"training was asked to stop; step {self.now.step} of {self.plan.steps} is saved")
                if self._over():
                    break
        return self.now

    def best_weights(self) -> torch.Tensor:
        """Masters of the best evaluation, once `run` is over."""
        return self.weights.master if self.best is None else self.best

    def _over(self) -> bool:
        return self.now.step >= self.plan.steps or self.now.stopped

    def _step(self, batch: Any) -> None:
        now, rate = self.now, self.schedule.at(self.now.step)
        self.work.model.train()
        part = self._gradient(self.team.share(batch), len(batch))
        norm = self.weights.step(rate, self.team.sum)
        value, units = self.team.total(*part)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise StepFailed(
                f"the loss became {value} (gradient norm {norm}) at step {now.step} of {self.plan.steps}, learning rate {rate:.3g}",
                remedy="Lower `learning_rate`, raise `warmup`, or set `precision: fp32`; then run again.",
            )
        now.step, now.units = now.step + 1, now.units + int(units)
        now.losses, now.counted = now.losses + value, now.counted + 1
        if now.step % max(1, self.plan.steps // REPORTS) == 0:
            self.context.point("train.loss", value, now.step)
            self.context.point("learning_rate", rate, now.step)
            self.context.point("samples_per_s", self.speed, now.step)
        total = now.units / now.step * self.plan.steps
        self.context.progress(now.units, max(total, now.units), self.work.unit, loss=value)

    def _gradient(self, rows: Any, whole: int) -> tuple[float, int]:
        """Leaves the gradient of these rows' part of the mean loss over `whole`; that part, and how many units they hold."""
        if not len(rows):
            return 0.0, 0
        self.team.seed(self.seed, self.now.step)
        loss, units = self.work.loss(rows)
        part = loss if len(rows) == whole else loss * (len(rows) / whole)
        part.backward()
        return float(part.detach()), units

    def _evaluate(self) -> None:
        now, plan = self.now, self.plan
        self.work.model.eval()
        with torch.no_grad():
            found = self.team.told(self.work.evaluate() if self.team.leads else {})
        train_loss = now.losses / max(1, now.counted)
        for name, value in found.items():
            self.context.point(f"validation.{name}", value, now.step)
        row = {"step": now.step, "epoch": round(now.step / plan.steps_per_epoch, 4), "train.loss": train_loss}
        now.curve.append(row | {f"validation.{name}": value for name, value in found.items()})
        now.losses, now.counted = 0.0, 0
        if plan.better(found[plan.metric], now.best[f"validation.{plan.metric}"] if now.best else None):
            now.best, now.since_best, self.best = now.curve[-1], 0, self.weights.master.clone()
        else:
            now.since_best += 1
        now.stopped = plan.patience is not None and now.since_best >= plan.patience
        told = ", ".join(f"{name} {value:.4f}" for name, value in now.curve[-1].items() if "." in name)
        self.context.log(f"step {now.step} of {plan.steps}: {told}")

    def _save(self) -> None:
        if not self.team.leads:
            return
        tensors = dict(self.weights.state())
        tensors |= {f"generator.{name}": state for name, state in generators().items()}
        if self.best is not None:
            tensors["best"] = self.best
        facts = {name: getattr(self.now, name) for name in Progress.__slots__}
        self.checkpoints.save(self.now.step, Checkpoint(tensors, facts))

    def _resume(self) -> None:
        found = self.checkpoints.newest() if self.team.leads else None
        facts = self.team.told(None if found is None else dict(found.facts))
        if facts is None:
            return
        tensors = self.team.spread({} if found is None else found.tensors)
        self.weights.restore(tensors)
        self.best = tensors.get("best")
        restore_generators(tensors)
        self.now = Progress(**facts)
        self.context.log(f"resumed at step {self.now.step} of {self.plan.steps}")


def generators() -> dict[str, torch.Tensor]:
    """States of the random generators that a step draws from."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_generators(tensors: Mapping[str, torch.Tensor]) -> None:
    torch.set_rng_state(tensors["generator.cpu"].cpu())
    if "generator.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["generator.cuda"].cpu())
