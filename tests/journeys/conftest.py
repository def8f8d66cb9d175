"""One small project on real text, driven by the real commands in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CLASSIFY = """
name: docs
task: text-classification
data:
  sources: [{dataset: python-docstrings, text: text, label: module}]
  clean: [normalize, dedup]
  split: {validation: 0.1, test: 0.1, seed: 7}
train: {base: minilm, steps: 24, batch_size: 16, max_length: 32, checkpoint_every: 1s}
optimize: [{quantize: int8}]
evaluate: {resamples: 200, latency_requests: 20}
gates: [accuracy >= 0.02, "not_worse_than(champion, accuracy, margin=0.9)"]
deploy: {to: laptop}
"""
GENERATE = """
name: writer
task: text-generation
data:
  sources: [{dataset: python-docstrings/text}]
  clean: []
train: {method: {pretrain: {layers: 1, hidden: 64, heads: 2, context: 64, vocabulary: 300}}, steps: 20, batch_size: 8}
evaluate: {resamples: 200, latency_requests: 10}
gates: [bits_per_character <= 12]
deploy: {to: laptop}
"""


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a penstock.yaml; `penstock(…)` runs a command in it."""

    folder: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_") or k == "PENSTOCK_MIRROR"}
        command = [sys.executable, "-m", "penstock", *arguments]
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def penstock(self, *arguments: str, code: int = 0) -> str:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=280)
        assert process.returncode == code, f"penstock {' '.join(arguments)} ended with {process.returncode}\n{out}\n{err}"
        return out

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.penstock(*arguments, "--json", code=code))
        return value


@pytest.fixture(scope="module")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made: list[Project] = []

    def make(text: str) -> Project:
        project = Project(tmp_path_factory.mktemp("project"))
        (project.folder / "penstock.yaml").write_text(text)
        made.append(project)
        return project

    yield make
    for project in made:
        project.penstock("down")


def digests(result: dict[str, Any], *names: str) -> dict[str, str]:
    return {a["name"]: a["digest"] for a in result["artifacts"] if a["name"] in names}


def online(url: str, key: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, json.dumps(body).encode(), headers), timeout=60) as answer:
        value: dict[str, Any] = json.load(answer)
        return value


def benched(project: Project, *arguments: str) -> dict[str, Any]:
    """The report; a busy machine may make it not valid (exit code 1), which is no matter here."""
    with project.start("bench", *arguments, "--warmup", "0.5s", "--json") as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 1), err
    value: dict[str, Any] = json.loads(out)
    return value
