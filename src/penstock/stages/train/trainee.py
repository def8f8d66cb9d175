"""What the stage asks of a method: a model with its data, the choices that are good for it, and how it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from penstock.stages.train.loop import Work
from penstock.stages.train.weights import Recipe


@dataclass(frozen=True, slots=True)
class Choices:
    """Used where the file says nothing. `evaluations`: at least so many in a training; there is one after every epoch anyway."""

    epochs: float
    batch_size: int
    learning_rate: float
    dropout: float
    max_length: int
    metric: str  # decides which weights are best
    evaluations: int = 1
    decay: Literal["linear", "cosine"] = "linear"
    floor: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    lr_scale: Callable[[str], float] = lambda _: 1.0

    def recipe(self, weight_decay: float) -> Recipe:
        return Recipe(weight_decay, betas=self.betas, lr_scale=self.lr_scale)


class Trainee(Protocol):
    @property
    def model(self) -> Any: ...

    @property
    def work(self) -> Work: ...

    @property
    def choices(self) -> Choices: ...

    @property
    def batch_size(self) -> int:
        """Rows or blocks of a step, as settled by the file, the choices and the amount of data."""
        ...

    @property
    def max_length(self) -> int: ...

    def save(self, folder: Path) -> None:
        """Writes everything of the `model` artifact but training.json. The weights are in float32 by then."""
        ...
