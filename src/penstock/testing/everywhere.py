"""One file on a platform, by the real commands: it trains, deploys, answers and goes, and nothing of it stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.testing.emulators.table import EMULATORS, Emulated

KEPT = ("PENSTOCK_NO_SYNC", "PENSTOCK_MIRROR", "PENSTOCK_SPECS")


@dataclass(frozen=True, slots=True)
class Seen:
    """What happened on one platform. `left`: names of what is still there after `penstock down`."""

    platform: str
    jobs: str
    endpoint: str
    answer: str
    left: Sequence[str]
    seconds: float

    @property
    def good(self) -> bool:
        return self.endpoint == "live" and bool(self.answer) and not self.left


def check(kind: str, folder: Path, pipeline: Mapping[str, Any], question: Sequence[str]) -> Seen:
    """Runs `pipeline`, which deploys, on an emulated platform of `kind` ("local": on this machine), and asks it: the words after
    `penstock predict NAME`. Raises RuntimeError with what a command said.
    """
    project, began = folder / "project", time.monotonic()
    project.mkdir(parents=True)
    made = EMULATORS.load(kind)(folder / "emulator", project / ".penstock") if kind != "local" else nullcontext(Emulated({"kind": "local"}))
    with made as emulated:
        platforms = {"laptop": {"kind": "local"}, "there": dict(emulated.section)}
        (project / "penstock.yaml").write_text(json.dumps({**pipeline, "platforms": platforms}))
        command = Command(project, emulated.environment)
        try:
            result = command("run", "--on", "there")
            phases = [step["phase"] for step in result["steps"]]
            answer = command("predict", pipeline["name"], *question)["answers"][0]
            deployed = command("deployments")
        finally:
            gone = command("down")
    done = sum(phase == "succeeded" for phase in phases)
    text = str(answer["labels"][0]["label"] if "labels" in answer else answer["text"])
    left = [*gone["left"], *gone["unknown"]]
    return Seen(kind, f"{done}/{len(phases)} succeeded", deployed["deployments"][0]["phase"], text, left, time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class Command:
    """`penstock …` in a process of its own, its JSON read."""

    folder: Path
    environment: Mapping[str, str]

    def __call__(self, *arguments: str) -> dict[str, Any]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_") or name in KEPT}
        line = [sys.executable, "-m", "penstock", *arguments, "--json"]
        done = subprocess.run(line, cwd=self.folder, env={**kept, **self.environment}, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"penstock {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found
