"""What an export is asked for and what came of it: the records between the stage and its two ways of exporting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, DataUnusable
from penstock.stages.optimize.compare import Comparison


@dataclass(frozen=True)
class Job:
    """`folder` is to be filled; `dataset` holds train.parquet and validation.parquet."""

    folder: Path
    dataset: Path
    precision: Literal["f32", "int8"]

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        return {}

    def rows(self, split: str) -> list[str]:
        """Texts of a split. Raises ArtifactMissing, ArtifactCorrupt, or DataUnusable when it is empty."""
        import polars

        if split not in self._texts:
            path = self.dataset / f"{split}.parquet"
            if not path.is_file():
                raise ArtifactMissing(f"the dataset holds no {path.name}")
            try:
                self._texts[split] = polars.read_parquet(path, columns=["text"])["text"].to_list()
            except polars.exceptions.PolarsError as error:
                raise ArtifactCorrupt(f"{path} does not read as a table with a column `text` ({error})") from error
        if not self._texts[split]:
            raise DataUnusable(f"the {split} split has no rows, so the export cannot be {'calibrated' if split == 'train' else 'compared'}")
        return self._texts[split]


@dataclass(frozen=True, slots=True)
class Export:
    """`speeds` are timings: they go to the metrics, never into a file."""

    engine: str
    comparison: Comparison
    speeds: Mapping[str, float]
