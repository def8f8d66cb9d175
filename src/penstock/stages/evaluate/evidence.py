"""The evidence: what the bundle says of every held-out row, and the metrics that follow. Equal inputs give equal bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.core.digests import canonical
from penstock.core.errors import DataUnusable
from penstock.engines.contract import Engine
from penstock.spec.pipeline import Evaluate
from penstock.stages.contract import Context
from penstock.stages.evaluate import asking, classification, likelihood
from penstock.stages.evaluate.intervals import Interval

if TYPE_CHECKING:
    import polars as pl

DIGITS = 10  # kept of a metric: sums in another order (more threads) differ only beyond


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out rows and which split they are. `labels`: names by index, empty for generation."""

    split: str
    table: pl.DataFrame
    labels: Sequence[str]


@dataclass(frozen=True, slots=True)
class Evidence:
    """`texts[i]` is what row i of `predictions` is about; `answers` is there for classification."""

    intervals: Mapping[str, Interval]
    predictions: pl.DataFrame
    texts: Sequence[str]
    answers: classification.Answers | None = None


def held_out(dataset: Path) -> HeldOut:
    """The test rows; the validation rows where there is no test. Raises DataUnusable when there is neither."""
    import polars as pl

    names = dataset / "labels.json"
    labels = json.loads(names.read_text("utf-8")) if names.exists() else []
    for split in ("test", "validation"):
        path = dataset / f"{split}.parquet"
        table = pl.read_parquet(path) if path.exists() else pl.DataFrame()
        if table.height:
            return HeldOut(split, table, labels)
    raise DataUnusable("the dataset has neither test nor validation rows, so nothing can be measured")


async def classified(config: Evaluate, engine: Engine, rows: HeldOut, context: Context) -> Evidence:
    """Labels that only the bundle knows follow the dataset's own, so that such an answer is counted, and wrong."""
    import numpy as np
    import polars as pl

    texts = rows.table["text"].to_list()
    names = [*rows.labels, *(name for name in engine.info.labels if name not in rows.labels)]
    probabilities = await asking.classify(engine, texts, names, context)
    answers = classification.Answers(rows.table["id"].to_list(), rows.table["label"].to_numpy().astype(np.int64), probabilities, names)
    columns = {
        "id": answers.ids,
        "label": answers.labels.astype(np.int32),
        "prediction": answers.predictions.astype(np.int32),
        "confidence": answers.confidence,
        "correct": answers.correct,
    }
    intervals, predictions = classification.metrics_of(answers, config.resamples, config.confidence), pl.DataFrame(columns)
    if "source" in rows.table.columns:
        predictions = predictions.with_columns(rows.table["source"])
        for name, places in _by_source(predictions):
            own = classification.Answers([answers.ids[at] for at in places], answers.labels[places], probabilities[places], names)
            found = classification.metrics_of(own, config.resamples, config.confidence)
            intervals |= {f"{name}.{metric}": interval for metric, interval in found.items()}
    return Evidence(intervals, predictions, texts, answers)


async def scored(config: Evaluate, engine: Engine, rows: HeldOut, context: Context) -> Evidence:
    """Likelihood of the text in blocks. Raises DataUnusable when no block has a token to predict."""
    import polars as pl

    pieces = [piece for row, text in rows.table.select("id", "text").iter_rows() for piece in asking.blocks(row, text)]
    found = await asking.score(engine, pieces, context)
    if not found:
        raise DataUnusable(f"no {rows.split} row is long enough to predict one token of it")
    columns = {
        "id": [row for row, _ in found],
        "nats": [round(block.nats, 4) for _, block in found],
        "tokens": [block.tokens for _, block in found],
        "characters": [block.characters for _, block in found],
    }
    intervals = likelihood.metrics_of([block for _, block in found], config.resamples, config.confidence)
    text_of, predictions = dict(pieces), pl.DataFrame(columns)
    if "source" in rows.table.columns:
        of_row = dict(rows.table.select("id", "source").iter_rows())
        predictions = predictions.with_columns(pl.Series("source", [of_row[_row_of(block, of_row)] for block, _ in found]))
        for name, places in _by_source(predictions):
            own = likelihood.metrics_of([found[at][1] for at in places], config.resamples, config.confidence)
            intervals |= {f"{name}.{metric}": interval for metric, interval in own.items()}
    return Evidence(intervals, predictions, [text_of[row] for row, _ in found])


def _row_of(block: str, rows: Mapping[str, str]) -> str:
    """The id of the row that a block is of: a long row's blocks are numbered."""
    return block if block in rows else block.rpartition("#")[0]


def _by_source(predictions: pl.DataFrame) -> Iterator[tuple[str, list[int]]]:
    """The places of each source's rows, by its name."""
    sources = predictions["source"].to_list()
    for name in sorted(set(sources)):
        yield name, [at for at, source in enumerate(sources) if source == name]


def write_evidence(folder: Path, evidence: Evidence, intervals: Mapping[str, Interval]) -> None:
    """`intervals`: those of the evidence that were asked for. No timings."""
    metrics = {name: {end: round(getattr(i, end), DIGITS) for end in ("value", "low", "high")} for name, i in intervals.items()}
    (folder / "metrics.json").write_bytes(canonical(metrics))
    evidence.predictions.write_parquet(folder / "predictions.parquet", compression="zstd", statistics=False)
    if evidence.answers is not None:
        (folder / "confusion.json").write_bytes(canonical(classification.confusion(evidence.answers)))
