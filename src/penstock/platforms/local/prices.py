"""What an hour on this machine costs: nothing that anybody bills. Energy and carbon are modelled elsewhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Price:
    usd_per_h: float
    reason: str


def price() -> Price:
    return Price(0.0, "the machine is there already; nobody bills its hours")
