"""`deploy.strategy` and `deploy.rollback_when`: how a new version takes over, and what sends it back.

Not covered: moving traffic between versions that are both to stay, which is `deploy.traffic`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, model_validator

from penstock.spec.types import Fraction, Record, Seconds

KINDS = ("rolling", "blue_green", "canary", "compare", "bandit")
SHORT = {"rolling": {"rolling": {}}, "blue_green": {"blue_green": {}}, "canary": {"canary": (0.05, 0.25, 1.0)}}


class Rolling(Record):
    """Traffic follows the replicas, `step` of them at a time, as fast as they are ready; a proven breach goes back."""

    step: int = Field(default=1, ge=1, description="replicas at a time")


class BlueGreen(Record):
    """Every replica of the new version is made ready beside the old ones, then all requests change over at once."""


class Compare(Record):
    """Both versions side by side until a sequential test says which is better: an A/B test whose winner takes over."""

    share: Fraction = Field(default=0.5, gt=0, lt=1, description="of requests, for the new version")
    metric: Literal["reward", "success", "latency"] = "reward"
    stop_after: int | None = Field(default=None, ge=100, description="requests of both after which it ends undecided")


class Moving(Record):
    """Thompson sampling: traffic moves to the version that earns more; the new one takes over once it is almost surely the better."""

    explore: Fraction = Field(default=0.05, gt=0, lt=0.5, description="share that neither falls below")
    every: Seconds = Field(default=60.0, gt=0)
    metric: Literal["reward", "success", "latency"] = "reward"


class Strategy(Record):
    """Exactly one of rolling, blue_green, canary, compare, bandit (the first three may stand alone); `shadow` may go before any of them.

    `hold`, `min_requests`: what a step of a canary (and the shadow) takes at least. `confidence`: of each verdict, over all looks together.
    `patience`: after so long without a verdict at the last step, `undecided` says what happens. `keep_warm`: for how long the version that
    was replaced stays ready and `rollback_when` stays watched.
    """

    rolling: Rolling | None = None
    blue_green: BlueGreen | None = None
    canary: tuple[Fraction, ...] | None = Field(default=None, description="shares of requests in turn, such as [5%, 25%, 100%]")
    compare: Compare | None = None
    bandit: Moving | None = None
    shadow: Fraction | None = Field(default=None, gt=0, le=1, description="share of requests that is copied to it first")
    hold: Seconds = Field(default=120.0, ge=0)
    min_requests: int = Field(default=50, ge=0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    patience: Seconds = Field(default=3600.0, gt=0)
    undecided: Literal["wait", "promote", "rollback"] = "wait"
    keep_warm: Seconds = Field(default=600.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return SHORT[value] if isinstance(value, str) and value in SHORT else value

    @model_validator(mode="after")
    def _sound(self) -> Strategy:
        if len([kind for kind in KINDS if getattr(self, kind) is not None]) != 1:
            raise ValueError(f"a strategy names exactly one of {', '.join(KINDS)}, such as {{canary: [5%, 25%, 100%], hold: 2m}}")
        if self.canary is not None:
            if not self.canary or any(not 0 < share <= 1 for share in self.canary):
                raise ValueError("the steps of a canary are shares above 0 and up to 100%")
            if any(later <= earlier for earlier, later in pairwise(self.canary)):
                raise ValueError("the steps of a canary grow: each share is larger than the one before")
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)
