"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from penstock.control.timeline.entries import Entry
from penstock.store.signals import Signal


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture. `of`: names of signals; `against_limit`: all that have a limit of their own, in parts of it.

    `whole_else`: without a version that was measured, the whole deployment is drawn. `told`: what becomes of the windows that one point
    stands for, when there are more than can be drawn.
    """

    title: str
    unit: str
    of: Sequence[str] = ()
    by_version: bool = False
    whole_else: bool = True
    scale: float = 1.0
    told: Literal["mean", "worst"] = "mean"
    against_limit: bool = False
    from_zero: bool = True
    about: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """Of one deployment from `since` to `until`, seconds since the epoch. `window_s`: length of its windows now.

    `shares`: (since when, share of requests by version). `alerts`, `reactions`: as the commands print them, newest first.
    """

    deployment: str
    since: float
    until: float
    window_s: float
    signals: Sequence[Signal] = ()
    entries: Sequence[Entry] = ()
    shares: Sequence[tuple[float, Mapping[str, float]]] = ()
    alerts: Sequence[Mapping[str, Any]] = ()
    reactions: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
