"""Facts about the dataset: rows, labels, lengths, what was removed and why. Numbers follow from the content alone."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from penstock.spec.steps import DataConfig
from penstock.stages.data import split as splits
from penstock.stages.data.index import TEST, TRAINING, Spilled
from penstock.stages.data.place import CUT, Placed
from penstock.stages.data.rules import KEPT, Decided

QUANTILES = {"minimum": 0.0, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99, "maximum": 1.0}
VOCABULARY_CHARACTERS = 20_000_000
PIECE = 1 << 20
MARKS = string.punctuation + "“”‘’«»„…–—¿¡、。，"


def collect(folder: Path, config: DataConfig, spilled: Spilled, decided: Decided, placed: Placed, labels: list[str]) -> dict[str, Any]:
    index = spilled.index
    by_split = {name: _split_facts(folder / f"{name}.parquet", labels) for name in splits.NAMES}
    counts = [by_split["train"].get("labels", {}).get(label, 0) for label in labels]
    held = index.filter((index["origin"] == TRAINING) & (decided.removed_by == KEPT))["key"]
    tested = index.filter(index["origin"] == TEST)["key"]
    return {
        "schema": 1,
        "task": config.task,
        "splits": by_split,
        "imbalance": max(counts) / max(1, min(counts)) if counts else None,
        "removed": _removed(decided, spilled),
        "duplicates": {
            "training": int((index["origin"] == TRAINING).sum()) - int(index.filter(index["origin"] == TRAINING)["key"].n_unique()),
            "test": tested.len() - tested.n_unique(),
            "label_conflicts": decided.conflicts,
            "rows_in_conflict": decided.conflicting_rows,
        },
        "training_rows_equal_to_test_rows": int(held.is_in(tested.unique().implode()).sum()) if tested.len() else 0,
        "quarantined": _quarantined(spilled),
        "vocabulary": _vocabulary(folder / "train.parquet"),
        "histogram": _histogram(folder / "train.parquet"),
        "contiguous": bool((placed.places == CUT).any()),
    }


def _split_facts(path: Path, labels: list[str]) -> dict[str, Any]:
    rows = pl.scan_parquet(path)
    lengths = rows.select(pl.col("text").str.len_chars().cast(pl.Int64).alias("n")).collect()["n"]
    facts: dict[str, Any] = {"rows": lengths.len(), "characters": int(lengths.sum())}
    if lengths.len():
        facts["length"] = {name: int(lengths.quantile(q, "nearest") or 0) for name, q in QUANTILES.items()}
    if labels:
        found = rows.group_by("label").agg(pl.len().alias("n")).collect()
        counts = dict(zip(found["label"], found["n"], strict=True))
        facts["labels"] = {label: int(counts.get(number, 0)) for number, label in enumerate(labels)}
    return facts


def _histogram(path: Path) -> list[tuple[str, int]]:
    """Rows by length: bins of doubling width, named by their upper end in characters."""
    lengths = pl.scan_parquet(path).select(pl.col("text").str.len_chars().cast(pl.Int64).alias("n")).collect()["n"]
    bins: Counter[int] = Counter()
    for length, rows in lengths.value_counts().iter_rows():
        bins[max(0, length - 1).bit_length()] += rows
    return [(f"{1 << b:,}", bins[b]) for b in range(min(bins, default=0), max(bins, default=-1) + 1)]


def _removed(decided: Decided, spilled: Spilled) -> dict[str, int]:
    counts: dict[str, int] = {}
    for number, rule in enumerate(spilled.rules):
        counts[rule.name] = counts.get(rule.name, 0) + int((decided.removed_by == number).sum())
    return counts


def _quarantined(spilled: Spilled) -> dict[str, Any]:
    reasons = Counter(row.reason.split(":")[0] for row in spilled.bad)
    return {"rows": len(spilled.bad), "reasons": dict(reasons), "sources": dict(Counter(row.source for row in spilled.bad))}


def _vocabulary(path: Path) -> dict[str, Any]:
    """Distinct words (between white space, lower case, marks at their ends dropped) and characters of the training split, in
    its first VOCABULARY_CHARACTERS; `complete` says whether that is all of it."""
    words: set[str] = set()
    characters: set[str] = set()
    read = 0
    for piece in _pieces(path):
        if read >= VOCABULARY_CHARACTERS:
            return {"words": len(words - {""}), "characters": len(characters), "complete": False}
        read += len(piece)
        characters.update(piece)
        words.update(word.strip(MARKS) for word in set(piece.lower().split()))
    return {"words": len(words - {""}), "characters": len(characters), "complete": True}


def _pieces(path: Path) -> Iterator[str]:
    """Training text in pieces of about PIECE characters, cut at spaces, so that a long document is never split into words whole."""
    for batch in pq.ParquetFile(path).iter_batches(512, columns=["text"]):
        text = "\n".join(batch.column(0).to_pylist())
        start = 0
        while start < len(text):
            cut = text.find(" ", start + PIECE)
            end = len(text) if cut < 0 else cut
            yield text[start:end]
            start = end
