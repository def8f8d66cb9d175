"""What the watcher and its measures know of each other: what happened goes in, signals come out.

The watcher reads records and feedback once, in order, and saves the state of all measures together with how far it has read: a measure is
given everything exactly once as far as its state knows, and may give a signal again after a crash (the same one: rows are written over).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from penstock.core.home import Home
from penstock.serving.feedback import Feedback
from penstock.spec.monitor import Monitor
from penstock.store.registry import ModelVersion
from penstock.store.signals import Signal
from penstock.store.store import Store

KEEP_S = 14 * 86400.0  # signals are kept for so long
Row = Mapping[str, Any]  # of serving/records.py Record, by name; and `at`: when the request was over, which is when it counts


@dataclass(frozen=True, slots=True)
class Rated:
    """Feedback with the record of the request that it is about, and with what the key that asked had said of that request before.

    Each said thing comes once, however often it was sent. What stands of a request: `serving.joined.verdict((*earlier, said))`.
    """

    record: Row
    said: Feedback
    earlier: tuple[Feedback, ...] = ()


@dataclass(frozen=True, slots=True)
class Happened:
    """What is new about one deployment: records in the order in which requests were over, then feedback in the order in which it was given.

    `until`: all that happened up to then (seconds since the epoch) has been given, now or before. It goes back only when the clock of the
    machine was set back. What reached the disk too late is given all the same: then `at` lies before the last `until`.
    """

    records: Sequence[Row]
    rated: Sequence[Rated]
    until: float


@dataclass(frozen=True, slots=True)
class Watched:
    """One deployment as its row says. `versions`: those that serve, by number as text.

    `folder`: for what a measure keeps on disk; files called `state-…` in it are the watcher's. `home`: whose gateway a measure may ask.
    """

    deployment: str
    task: str
    monitor: Monitor
    versions: Mapping[str, ModelVersion]
    store: Store
    folder: Path
    home: Home | None = None


class Measure(Protocol):
    """Made anew when the process starts or the row changes, then given its state back. `name` is that of its state."""

    name: str

    def fold(self, happened: Happened) -> list[Signal]:
        """Signals of the windows that are complete by now. Called also when nothing happened: time alone closes windows.

        What it raises is told; the measure is set aside for a minute, then made anew with the state that was saved last.
        """
        ...

    def state(self) -> bytes: ...

    def restore(self, state: bytes) -> None:
        """Raises ValueError for a state that it cannot read; it then starts fresh, and that is told."""
        ...


class Maker(Protocol):
    def __call__(self, watched: Watched) -> Measure | None:
        """None where the deployment asks for nothing of this kind."""
        ...
