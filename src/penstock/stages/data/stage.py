"""The data stage: sources in, one dataset artifact out (layout in stages/README.md). Equal sources and config give equal bytes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from penstock.core.errors import DataUnusable
from penstock.core.files import told_plainly
from penstock.spec.steps import DataConfig, ResolvedSource
from penstock.stages.contract import Context, Inputs, Metrics, Outputs
from penstock.stages.data.card import write_cards
from penstock.stages.data.index import TEST, TRAINING, Spilled
from penstock.stages.data.ingest import ingest
from penstock.stages.data.place import place, write_tables
from penstock.stages.data.rules import KEPT, Decided, decide
from penstock.stages.data.statistics import collect
from penstock.stages.data.write import write_quarantine


class DataStage:
    name = "data"
    version = "1"

    def run(self, config: DataConfig, inputs: Inputs, outputs: Outputs, context: Context) -> Metrics:
        generation = config.task == "text-generation"
        named = any(given.source.name for given in (*config.sources, *config.test))
        spilled = Spilled(_empty(context.scratch / "rows"), config.clean, keep_lines=generation, named=named)
        for origin, sources in ((TRAINING, config.sources), (TEST, config.test)):
            self._ingest_all(sources, origin, spilled, inputs, context)
        index = spilled.index
        decided = decide(index, config.clean)
        _require_rows(index, decided, spilled)
        labels = [] if generation else _labels(index, decided, len(spilled.bad))
        placed = place(index, decided, config.split, generation)
        folder = outputs.folder("dataset", "dataset")
        with told_plainly(folder):
            rows = write_tables(folder, spilled, decided, placed, config.split, labels)
            write_quarantine(folder / "quarantine.parquet", spilled.bad)
        if labels:
            (folder / "labels.json").write_bytes(orjson.dumps(labels, option=orjson.OPT_INDENT_2))
        statistics = collect(folder, config, spilled, decided, placed, labels)
        (folder / "statistics.json").write_bytes(orjson.dumps(statistics, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        write_cards(folder, config, statistics)
        _say(statistics, rows, context)
        shutil.rmtree(spilled.folder)
        outputs.describe("dataset", task=config.task, rows=rows, labels=len(labels))
        removed = int((decided.removed_by != KEPT).sum())
        return {
            **{f"rows.{name}": float(count) for name, count in rows.items()},
            "rows.removed": float(removed),
            "rows.quarantined": float(len(spilled.bad)),
        }

    def _ingest_all(self, sources: Sequence[ResolvedSource], origin: int, spilled: Spilled, inputs: Inputs, context: Context) -> None:
        for given in sources:
            ingest(inputs.external(given.digest), given, origin, spilled, context)


def _say(statistics: dict[str, Any], rows: dict[str, int], context: Context) -> None:
    context.log(", ".join(f"{name} {count:,} rows" for name, count in rows.items()))
    removed = ", ".join(f"{count:,} by {rule}" for rule, count in statistics["removed"].items() if count)
    if removed:
        context.log(f"removed {removed} (removed.parquet)")
    if statistics["training_rows_equal_to_test_rows"]:
        context.log(f"WARNING: {statistics['training_rows_equal_to_test_rows']:,} training rows equal a test row; declare `decontaminate`")


def _empty(folder: Path) -> Path:
    """A clean folder: parts that a killed attempt left are not trusted."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    return folder


def _require_rows(index: pl.DataFrame, decided: Decided, spilled: Spilled) -> None:
    training = index["origin"] == TRAINING
    kept = int((training & (decided.removed_by == KEPT)).sum())
    if kept:
        return
    by = decided.removed_by.filter(training).value_counts(sort=True)
    causes = [f"{count:,} by {spilled.rules[number].name}" for number, count in by.iter_rows()] + (
        [f"{len(spilled.bad):,} set aside as bad"] if spilled.bad else []
    )
    first = f"; first bad row: {spilled.bad[0].source} line {spilled.bad[0].line}: {spilled.bad[0].reason}" if spilled.bad else ""
    raise DataUnusable(f"no training row is left: {', '.join(causes)}{first}")


def _labels(index: pl.DataFrame, decided: Decided, bad: int) -> list[str]:
    kept = index.filter((decided.removed_by == KEPT) & (index["origin"] == TRAINING))
    labels: list[str] = kept["label"].unique().sort().to_list()
    if len(labels) < 2:
        raise DataUnusable(
            f"all {kept.height:,} training rows have the one label {labels[0]!r}: nothing to tell apart ({bad:,} rows are in quarantine)",
            remedy="Check that `label:` names the right column, and that rows of the other classes were not set aside or removed.",
        )
    unseen = index.filter((decided.removed_by == KEPT) & (index["origin"] == TEST) & ~index["label"].is_in(labels))
    if unseen.height:
        counts = unseen["label"].value_counts(sort=True)
        shown = ", ".join(f"{label!r} ({count:,})" for label, count in counts.head(10).iter_rows())
        raise DataUnusable(
            f"{unseen.height:,} test rows have {counts.height:,} labels that no training row has: {shown}",
            remedy="Add training rows with these labels, correct their spelling, or take the rows out of the test source.",
        )
    return labels
