"""From decisions to tables: every row of the spill goes to one split, or to the removed rows with the rule that removed it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from penstock.spec.pipeline import CleanRule, Split
from penstock.stages.data import split as splits
from penstock.stages.data.index import TEST, TRAINING, Spilled
from penstock.stages.data.normal import content
from penstock.stages.data.rules import KEPT, Decided
from penstock.stages.data.write import REMOVED, TableWriter, split_schema

FEW_DOCUMENTS = 20  # a corpus of fewer documents is cut inside each of them: there is no fair draw of whole ones
CUT = 3  # place of a document that is cut contiguously


@dataclass(frozen=True, slots=True)
class Placed:
    """Per row of the index: `places`, the split number, CUT, or null where removed; `nth` repetition of equal content in its origin."""

    places: pl.Series
    nth: pl.Series


def place(index: pl.DataFrame, decided: Decided, split: Split, generation: bool) -> Placed:
    rows = index.with_columns(decided.removed_by.alias("by"), pl.lit(None, pl.UInt8).alias("place"))
    has_test = bool((index["origin"] == TEST).any())
    kept = pl.col("by") == KEPT
    rows = rows.with_columns(
        pl.when(kept & (pl.col("origin") == TEST)).then(pl.lit(splits.TEST, pl.UInt8)).otherwise("place").alias("place")
    )
    chosen = rows.with_row_index("row").filter(kept & (pl.col("origin") == TRAINING))
    if generation and chosen.height < FEW_DOCUMENTS:
        where = pl.Series("split", [CUT] * chosen.height, dtype=pl.UInt8)
    else:
        where = splits.assign(chosen["key"], chosen["label"], split, with_test=not has_test)
    placed = rows["place"].clone().scatter(chosen["row"], where.cast(pl.UInt8))
    return Placed(placed, index.select(pl.int_range(pl.len(), dtype=pl.UInt32).over("origin", "content")).to_series())


def _ids(contents: pl.Series, nth: pl.Series) -> pl.Series:
    """Content hash in hex, and `-n` for the n-th repetition among rows of the same origin; so an id outlives a re-ordering."""
    code = contents.bin.encode("hex")
    return pl.select(pl.when(nth == 0).then(code).otherwise(pl.concat_str(code, pl.lit("-"), nth.cast(pl.String)))).to_series().alias("id")


def write_tables(folder: Path, spilled: Spilled, decided: Decided, placed: Placed, split: Split, labels: list[str]) -> dict[str, int]:
    """Writes the three splits and the removed rows; returns rows per split."""
    code = pl.Enum(labels) if labels else None
    carve_test = not bool((spilled.index["origin"] == TEST).any())
    with ExitStack() as stack:
        schema = split_schema(bool(labels), spilled.named)
        writers = [stack.enter_context(TableWriter(folder / f"{name}.parquet", schema)) for name in splits.NAMES]
        removed = stack.enter_context(TableWriter(folder / "removed.parquet", REMOVED))
        for rows in _joined(spilled, decided, placed):
            removed.write(_removed(rows.filter(pl.col("by") != KEPT), spilled.rules))
            rows = rows.filter(pl.col("by") == KEPT)  # before labels get numbers: a removed row's label may be no class
            if code is not None:
                rows = rows.with_columns(pl.col("label").cast(code).to_physical().cast(pl.Int32))
            for number, writer in enumerate(writers):
                writer.write(rows.filter(pl.col("place") == number))
            beside = ["source"] if spilled.named else []
            for identity, text, *source in rows.filter(pl.col("place") == CUT).select("id", "text", *beside).iter_rows():
                for number, piece in cut(text, split, carve_test):
                    whose = f"{content(piece, None).hex()}-{identity}"
                    columns = zip(beside, source, strict=True)
                    writers[number].write(pl.DataFrame({"id": [whose], "text": [piece], **{name: [value] for name, value in columns}}))
    return {name: writer.rows for name, writer in zip(splits.NAMES, writers, strict=True)}


def cut(text: str, split: Split, carve_test: bool) -> Iterator[tuple[int, str]]:
    """One document in order: its first part trains, then the test part, the last `split.validation` of its characters validate."""
    until_validation = int(len(text) * (1 - split.validation))
    until_test = int(len(text) * (1 - split.validation - (split.test if carve_test else 0.0)))
    pieces = (
        (splits.TRAIN, text[:until_test]),
        (splits.TEST, text[until_test:until_validation]),
        (splits.VALIDATION, text[until_validation:]),
    )
    return ((number, piece) for number, piece in pieces if piece)


def _joined(spilled: Spilled, decided: Decided, placed: Placed) -> Iterator[pl.DataFrame]:
    start = 0
    index = spilled.index
    for part in spilled.texts():
        span = slice(start, start + part.height)
        yield part.with_columns(
            _ids(index["content"][span], placed.nth[span]),
            placed.places[span].alias("place"),
            decided.removed_by[span].alias("by"),
            index["origin"][span].alias("origin"),
        )
        start += part.height


def _removed(rows: pl.DataFrame, rules: tuple[CleanRule, ...]) -> pl.DataFrame:
    names = [rule.name for rule in rules]
    return rows.select(
        "id",
        pl.when(pl.col("origin") == TEST).then(pl.lit("test")).otherwise(pl.lit("train")).alias("split"),
        pl.col("by").map_elements(lambda number: names[number], return_dtype=pl.String).alias("rule"),
        "text",
    )
