"""Pipeline files on disk, and the problems they give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.core.errors import FileProblems, Problem
from penstock.spec.load import load

GOOD = """\
name: intents
task: text-classification
data:
  sources: [{uri: train.csv, text: text, label: category}]
  clean: [normalize, {dedup: {exact: true}}]
  split: {validation: 5%, seed: 7}
train:
  base: minilm
  method: {lora: {rank: 8}}
  epochs: 3
optimize: [{quantize: int8}]
gates:
  - accuracy >= 0.90
deploy: {to: laptop}
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Writes a pipeline file beside a small `train.csv`."""
    (tmp_path / "train.csv").write_text("text,category\na,b\n")

    def write(content: str | bytes) -> Path:
        file = tmp_path / "penstock.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


@pytest.fixture
def good() -> str:
    return GOOD


@pytest.fixture
def problems(written: Callable[[str | bytes], Path]) -> Callable[..., list[Problem]]:
    """All problems of a content; fails when it loads."""

    def find(content: str | bytes, overrides: tuple[str, ...] = (), environ: dict[str, str] | None = None) -> list[Problem]:
        with pytest.raises(FileProblems) as caught:
            load(written(content), overrides=overrides, environ=environ or {})
        return caught.value.problems

    return find
