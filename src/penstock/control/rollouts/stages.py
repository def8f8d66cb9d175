"""A strategy as the stages that a new version goes through: what share of requests it gets in each, and what it takes to leave it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from penstock.spec.strategy import Strategy

Kind = Literal["shadow", "ready", "share", "compare", "bandit", "full"]


@dataclass(frozen=True, slots=True)
class Stage:
    """`share`: of requests (of copies for a shadow). It is left after `hold_s` and `needs` requests of the new version.

    `proof`: and only once every condition is shown to be kept: what comes after it is everybody. `replicas`: of the new version, where
    the stage says so.
    """

    kind: Kind
    share: float
    hold_s: float = 0.0
    needs: int = 0
    proof: bool = False
    replicas: int | None = None

    @property
    def name(self) -> str:
        """As people read it: `25 %`, `shadow 10 %`, `ready`, `all`."""
        if self.kind in ("ready", "full"):
            return "all" if self.kind == "full" else "ready"
        return f"{'' if self.kind == 'share' else self.kind + ' '}{self.share * 100:g} %"


FULL = Stage("full", 1.0)


def stages_of(strategy: Strategy, replicas: int) -> tuple[Stage, ...]:
    """In order, ending with all requests. `replicas`: that the deployment has now."""
    hold, needs = strategy.hold, strategy.min_requests
    found: list[Stage] = []
    if strategy.shadow is not None:
        found.append(Stage("shadow", strategy.shadow, hold, needs))
    if strategy.canary is not None:
        shares = [share for share in strategy.canary if share < 1]
        found += [Stage("share", share, hold, needs, proof=share == shares[-1]) for share in shares]
    elif strategy.rolling is not None:
        steps = range(strategy.rolling.step, replicas, strategy.rolling.step)
        found += [Stage("share", round(step / replicas, 6), replicas=step) for step in steps]
    elif strategy.blue_green is not None:
        found.append(Stage("ready", 0.0, replicas=max(replicas, 1)))
    elif strategy.compare is not None:
        found.append(Stage("compare", strategy.compare.share, needs=needs))
    else:
        found.append(Stage("bandit", 0.5, needs=needs))
    return (*found, FULL)
