"""The narrow table that decisions are made on: one line a row, no texts, so that it fits memory when the texts do not.

Texts go to Parquet parts in scratch while they are read; `Spilled` is both: the index in memory and the parts on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from penstock.core.errors import DataUnusable
from penstock.core.files import told_plainly
from penstock.spec.pipeline import CleanRule
from penstock.stages.data import normal
from penstock.stages.data.rows import BadRow, Batch

TRAINING, TEST = 0, 1
UNNAMED = "other"  # what rows of a source without a name are called beside named ones
BAD_LIMIT = 1_000_000  # rows in quarantine, which is held in memory; beyond it a source is not what it is said to be
SCHEMA = {"key": pl.Binary, "content": pl.Binary, "label": pl.String, "length": pl.UInt32, "origin": pl.UInt8, "failed": pl.Int8}


@dataclass(slots=True)
class Spilled:
    """`index` columns: key, content, label, length (characters), origin (TRAINING or TEST), failed (number of the rule
    that refused the row by itself, or -1)."""

    folder: Path
    rules: tuple[CleanRule, ...]
    keep_lines: bool
    named: bool = False  # whether parts have a column `source`
    parts: list[Path] = field(default_factory=list)
    indexes: list[pl.DataFrame] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)

    def add(self, batch: Batch, origin: int, source: str | None = None) -> None:
        """`source`: the name of where the rows are from, where they are told apart."""
        self.bad.extend(batch.bad)
        if len(self.bad) > BAD_LIMIT:
            last = self.bad[-1]
            raise DataUnusable(f"more than {BAD_LIMIT:,} rows cannot be used; the last: {last.source} line {last.line}: {last.reason}")
        if not batch.rows.height:
            return
        rows, failed = self._cleaned(batch.rows, origin)
        texts = rows["text"].to_list()
        if self.named:
            rows = rows.with_columns(pl.lit(source or UNNAMED, pl.String).alias("source"))
        part = self.folder / f"part-{len(self.parts):06d}.parquet"
        with told_plainly(part):
            pq.write_table(rows.to_arrow(), part, compression="lz4")
        self.parts.append(part)
        self.indexes.append(
            pl.DataFrame(
                {
                    "key": list(map(self._key, texts)),
                    "content": list(map(normal.content, texts, rows["label"].to_list())),
                    "label": rows["label"],
                    "length": rows["text"].str.len_chars(),
                    "origin": [origin] * rows.height,
                    "failed": failed,
                },
                schema=SCHEMA,
            )
        )

    @property
    def _key(self) -> Callable[[str], bytes]:
        normalized = not self.keep_lines and any(rule.normalize for rule in self.rules)
        return normal.key_of_normal if normalized else normal.key

    def _cleaned(self, rows: pl.DataFrame, origin: int) -> tuple[pl.DataFrame, pl.Series]:
        """Rules that look at one row alone, in their order. Test rows are normalised, never removed."""
        failed = pl.Series("failed", [-1] * rows.height, dtype=pl.Int8)
        for number, rule in enumerate(self.rules):
            if rule.normalize is not None:
                form = normal.many_lines if self.keep_lines else normal.one_line
                rows = rows.with_columns(pl.Series("text", [form(text) for text in rows["text"].to_list()], dtype=pl.String))
                failed = _failing(failed, rows["text"].str.strip_chars() == "", number)
            if rule.length is not None and origin == TRAINING:
                length = rows["text"].str.len_chars().cast(pl.Int64)
                outside = (length < rule.length.minimum) | (length > (rule.length.maximum or 1 << 62))
                failed = _failing(failed, outside, number)
        return rows, failed

    def mark(self) -> tuple[int, int]:
        """Where things stand, for `rewind`."""
        return len(self.parts), len(self.bad)

    def rewind(self, mark: tuple[int, int]) -> None:
        """Forgets what was added since `mark`."""
        for part in self.parts[mark[0] :]:
            part.unlink()
        del self.parts[mark[0] :], self.indexes[mark[0] :], self.bad[mark[1] :]

    @property
    def index(self) -> pl.DataFrame:
        if len(self.indexes) > 1:
            self.indexes = [pl.concat(self.indexes, rechunk=True)]
        return self.indexes[0] if self.indexes else pl.DataFrame(schema=SCHEMA)

    def texts(self) -> Iterator[pl.DataFrame]:
        """Frames of `text` and `label` in the order of the index."""
        for part in self.parts:
            yield pl.read_parquet(part)


def _failing(failed: pl.Series, now: pl.Series, number: int) -> pl.Series:
    return pl.select(pl.when((failed == -1) & now).then(pl.lit(number, pl.Int8)).otherwise(failed)).to_series()
