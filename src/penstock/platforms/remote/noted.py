"""What this machine remembers of an endpoint between two passes: what was wanted last, and what came of the last change."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from penstock.core.files import write_atomic
from penstock.platforms.remote.files import JsonFiles

FIRST_S, SLOWEST_S = 15.0, 600.0
_files = JsonFiles()
Held = tuple[str, str, Mapping[str, str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Noted:
    """`wanted`: (version, bundle, replicas) rows; `held`: (version, bundle, adapters, why others are not) rows.

    `config`: that was tried `tries` times, last at `at` (epoch), and failed for `reason`. `operation`: where the vendor tells what became
    of the last change, where it tells it apart. `swept` False: a configuration or model of an earlier time may still be there.
    """

    wanted: Sequence[tuple[str, str, int]] = ()
    held: Sequence[Held] = ()
    config: str = ""
    tries: int = 0
    at: float = 0.0
    reason: str = ""
    swept: bool = True
    operation: str = ""

    @property
    def settled(self) -> bool:
        """Whether the last change came about, and nothing of an earlier time is left."""
        return self.swept and not (self.reason or self.operation or self.tries)

    def due(self, config: str, now: float) -> bool:
        """A configuration that failed is tried again ever more slowly."""
        if config != self.config or not self.reason:
            return True
        pause = min(SLOWEST_S, FIRST_S * 2.0 ** min(self.tries - 1, 10))
        return not 0 <= now - self.at < pause


def read(folder: Path, name: str) -> Noted | None:
    """None: nothing is known of it."""
    value = _files.read(folder / f"{name}.json")
    if not value:
        return None
    rows = {name: tuple(tuple(row) for row in value[name]) for name in ("wanted", "held")}
    return Noted(**{**value, **rows})


def read_all(folder: Path) -> dict[str, Noted]:
    """By endpoint."""
    try:
        names = sorted(entry.name[:-5] for entry in os.scandir(folder) if entry.name.endswith(".json") and entry.name[0] != ".")
    except FileNotFoundError:
        return {}
    return {name: found for name in names if (found := read(folder, name)) is not None}


def write(folder: Path, name: str, noted: Noted) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{name}.json", json.dumps(asdict(noted)).encode(), sync=False)


def forget(folder: Path, name: str) -> None:
    (folder / f"{name}.json").unlink(missing_ok=True)
