"""Homes with records and feedback of our own making, at times of our own choosing, and what a watcher made of them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from penstock.serving.feedback import Feedback
from penstock.serving.records import Record
from penstock.store.resources import Resource
from penstock.store.signals import Signal
from penstock.store.store import Store


def bundle(version: int) -> str:
    return f"sha256:{version:064d}"


def record(number: int, at: float, **changes: Any) -> dict[str, Any]:
    """The row of request `req-<number>` that was over at `at` (seconds since the epoch) after 20 ms; `changes` by field."""
    took = float(changes.get("total_ms", 20.0))
    made = Record(
        ts=round(at - took / 1000, 6),
        id=f"req-{number}",
        model="m",
        version="1",
        replica="m-1",
        route="/v1/classify",
        key="key-1",
        status=200,
        bytes_in=100,
        bytes_out=200,
        prompt_tokens=10,
        completion_tokens=2,
        queue_ms=0.5,
        first_ms=took / 2,
        total_ms=took,
        attempts=1,
    )
    return {**made._asdict(), **changes}


def said(number: int, at: float, key: str | None = "key-1", **what: Any) -> Feedback:
    """Feedback on request `req-<number>`; `what`: score, label, user …"""
    digest = hashlib.blake2b(repr((number, key, sorted(what.items()))).encode(), digest_size=12).hexdigest()
    return Feedback(ts=at, id=f"req-{number}", feedback=f"fb-{digest}", key=key, **what)


@dataclass(slots=True)
class Notes:
    """What a gateway would have written under `folder`. `process`: whose segments they are."""

    folder: Path
    process: int = field(default_factory=os.getpid)

    def records(self, rows: Iterable[Mapping[str, Any]], segment: int = 1) -> None:
        """Appended in this order, each to the segment of the hour in which it was over."""
        by_file: dict[str, list[bytes]] = {}
        for row in rows:
            over = row["ts"] + row["total_ms"] / 1000
            by_file.setdefault(f"{_hour(over)}-{self.process}-{segment}", []).append(orjson.dumps(row))
        for name, lines in by_file.items():
            self.append(f"records/{name}.jsonl", b"".join(line + b"\n" for line in lines))

    def feedback(self, *given: Feedback) -> None:
        for one in given:
            self.append(f"feedback/{_hour(one.ts)}-{self.process}.jsonl", orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE))

    def append(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(data)
        return path


def deployment(store: Store, name: str = "m", versions: Sequence[int] = (1,), **monitor: Any) -> Resource:
    """A row of a deployment that serves `versions` of a model of the same name, with a `monitor` section."""
    share = [{"version": version, "bundle": bundle(version), "weight": 1 / len(versions)} for version in versions]
    spec = {"model": name, "versions": share, "task": "text-classification", "platform": {"name": "laptop", "config": {}}, "replicas": 1}
    return store.resources.create("deployment", name, {**spec, "deploy": {"monitor": monitor}}, status={"live": share}, phase="live")


def registered(store: Store, name: str = "m", count: int = 2) -> None:
    """Registers versions 1 to `count` of a model."""
    for number in range(1, count + 1):
        store.registry.register(name, bundle(number), run=f"run-{number}", task="text-classification", metrics={}, gates=[], facts={})


def by_name(signals: Iterable[Signal], at: float, version: str = "", part: str = "") -> dict[str, Signal]:
    """Those of one instant and place."""
    return {signal.name: signal for signal in signals if (signal.at, signal.version, signal.slice) == (at, version, part)}


def _hour(at: float) -> str:
    return time.strftime("%Y%m%d-%H", time.gmtime(at))
