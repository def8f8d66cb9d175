"""What changed between two datasets: rows added, removed, and texts whose label is another. By text and split, not by position."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from penstock.stages.data.normal import content

SPLITS = ("train", "validation", "test")
EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Relabelled:
    text: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class SplitChange:
    """Rows of one split. The examples are the first EXAMPLES texts; the counts are of all."""

    added: int
    removed: int
    relabelled: int
    unchanged: int
    added_examples: tuple[str, ...]
    removed_examples: tuple[str, ...]
    relabelled_examples: tuple[Relabelled, ...]


@dataclass(frozen=True, slots=True)
class DatasetChange:
    """`moved`: texts that are in both datasets but in another split. Label names that only one of the two has."""

    splits: dict[str, SplitChange]
    moved: int
    labels_added: tuple[str, ...]
    labels_removed: tuple[str, ...]

    @property
    def empty(self) -> bool:
        return not (self.moved or self.labels_added or self.labels_removed) and not any(
            s.added or s.removed or s.relabelled for s in self.splits.values()
        )


def diff(dataset_a: Path, dataset_b: Path) -> DatasetChange:
    """From folder `dataset_a` to folder `dataset_b`, both dataset artifacts. Holds hashes of all rows, texts of examples."""
    tables = {name: (_table(dataset_a, name), _table(dataset_b, name)) for name in SPLITS}
    before, after = set(_labels(dataset_a)), set(_labels(dataset_b))
    all_a = pl.concat([a.select("hash", pl.lit(name).alias("split")) for name, (a, _) in tables.items()]).unique()
    all_b = pl.concat([b.select("hash", pl.lit(name).alias("split")) for name, (_, b) in tables.items()]).unique()
    held_a, held_b = all_a["hash"].unique(), all_b["hash"].unique()
    still = all_a.join(all_b, on=["hash", "split"], how="semi")["hash"].unique()
    moved = held_a.filter(held_a.is_in(held_b.implode()) & ~held_a.is_in(still.implode())).len()
    changes = {name: _change(dataset_a, dataset_b, name, *pair) for name, pair in tables.items()}
    return DatasetChange(changes, moved, tuple(sorted(after - before)), tuple(sorted(before - after)))


def _labels(folder: Path) -> list[str]:
    path = folder / "labels.json"
    return list(json.loads(path.read_bytes())) if path.is_file() else []


def _table(folder: Path, split: str) -> pl.DataFrame:
    """`hash` of the text, `label` by name, `nth` repetition of the text, `row` in the file."""
    rows = pl.scan_parquet(folder / f"{split}.parquet")
    labels = _labels(folder)
    texts = rows.select("text").collect()["text"]
    names = [labels[n] for n in rows.select("label").collect()["label"]] if labels else [""] * texts.len()
    table = pl.DataFrame({"hash": [content(text, None) for text in texts], "label": names}, schema={"hash": pl.Binary, "label": pl.String})
    return table.with_row_index("row").with_columns(pl.int_range(pl.len()).over("hash", order_by="label").alias("nth"))


def _change(folder_a: Path, folder_b: Path, split: str, a: pl.DataFrame, b: pl.DataFrame) -> SplitChange:
    on = ["hash", "nth"]
    added = b.join(a, on=on, how="anti", maintain_order="left")
    removed = a.join(b, on=on, how="anti", maintain_order="left")
    both = a.join(b, on=on, how="inner", suffix="_b", maintain_order="left")
    relabelled = both.filter(pl.col("label") != pl.col("label_b"))
    shown = relabelled.head(EXAMPLES)
    texts = _texts(folder_a, split, shown["row"])
    pairs = zip(texts, shown["label"], shown["label_b"], strict=True)
    return SplitChange(
        added.height,
        removed.height,
        relabelled.height,
        both.height - relabelled.height,
        _texts(folder_b, split, added["row"].head(EXAMPLES)),
        _texts(folder_a, split, removed["row"].head(EXAMPLES)),
        tuple(Relabelled(*pair) for pair in pairs),
    )


def _texts(folder: Path, split: str, rows: pl.Series) -> tuple[str, ...]:
    chosen = pl.scan_parquet(folder / f"{split}.parquet", row_index_name="row").filter(pl.col("row").is_in(rows.implode()))
    return tuple(chosen.select("text").collect()["text"]) if rows.len() else ()
