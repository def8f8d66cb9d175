"""Fixtures of the data stage: run it on files of a temporary folder, read its tables back."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from penstock.core.digests import digest_file, digest_folder
from penstock.spec.pipeline import Data, Source
from penstock.spec.steps import DataConfig, ResolvedSource
from penstock.stages.data.stage import DataStage
from penstock.testing.stages import FolderInputs, StageRun, externals, run_stage


@dataclass(frozen=True)
class Built:
    run: StageRun
    folder: Path

    def table(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self.folder / f"{name}.parquet")

    @property
    def statistics(self) -> dict[str, Any]:
        return json.loads((self.folder / "statistics.json").read_text())

    @property
    def labels(self) -> list[str]:
        return json.loads((self.folder / "labels.json").read_text())

    @property
    def digest(self) -> str:
        return digest_folder(self.folder)


def resolved(source: Source) -> ResolvedSource:
    path = Path(source.uri or "")
    return ResolvedSource(digest=digest_file(path), file_name=path.name, source=source)


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Built]:
    """`build(sources=[{uri: …}], …)` with the keys of the `data` section; `label` defaults to a column called label."""
    numbers = itertools.count()

    def run(task: str = "text-classification", **data: Any) -> Built:
        for source in [*data["sources"], *data.get("test", [])]:
            if task == "text-classification":
                source.setdefault("label", "label")
            source["uri"] = str(source["uri"])
        section = Data.model_validate(data)
        config = DataConfig(
            task=task,
            sources=tuple(map(resolved, section.sources)),
            test=tuple(map(resolved, section.test)),
            clean=section.clean,
            split=section.split,
        )
        given = externals(*[Path(s.uri or "") for s in (*section.sources, *section.test)])
        root = tmp_path / f"run-{next(numbers)}"
        return Built(run_stage(DataStage(), config, root, FolderInputs(externals=given)), root / "outputs" / "dataset")

    return run


@pytest.fixture(scope="session")
def mirror() -> Path:
    root = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("PENSTOCK_MIRROR") or root.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no data mirror at {folder}")
    return folder
