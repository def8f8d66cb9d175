"""What a plan says of one step on a platform: the machine, how many, spot or not, its price, and what would be asked of the vendor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.platforms.remote.machines import Machine


@dataclass(frozen=True, slots=True)
class Quote:
    """`usd_per_h`: of all `nodes` together; None where nobody said. `prices_of`: the day that listed prices were read.

    `calls`: what starting the step would ask for, in the vendor's own terms. `on`: the platform, where it is not the run's.
    `otherwise`: where the step goes when there is no room.
    """

    machine: str
    nodes: int = 1
    spot: bool = False
    usd_per_h: float | None = None
    prices_of: str | None = None
    calls: Sequence[str] = ()
    on: str = ""
    otherwise: Sequence[Quote] = ()


def quoted(machine: Machine, nodes: int, spot: bool, calls: Sequence[str] = (), prices_of: str | None = None) -> Quote:
    """The quote for so many machines of a type; a spot price where there is one, else that of the machine held for good."""
    price = machine.spot_usd_per_h if spot and machine.spot_usd_per_h is not None else machine.usd_per_h
    return Quote(machine.name, nodes, spot, None if price is None else price * nodes, prices_of, tuple(calls))
