"""Which rows the declared rules remove, decided on the index in the order of declaration.

Rules work on training rows. Test rows are a yardstick: they are normalised but never removed, so that a result on a
published test set is a result on all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from penstock.spec.pipeline import CleanRule
from penstock.stages.data.index import TEST, TRAINING

KEPT = -1


@dataclass(frozen=True, slots=True)
class Decided:
    """`removed_by`: number of the rule for each row of the index, KEPT for those that stay. `conflicts`: keys with several labels."""

    removed_by: pl.Series
    conflicts: int
    conflicting_rows: int


def decide(index: pl.DataFrame, rules: tuple[CleanRule, ...]) -> Decided:
    table = index.select("key", "label", "origin", "failed", pl.lit(KEPT, pl.Int8).alias("by"))
    for number, rule in enumerate(rules):
        alive = (pl.col("by") == KEPT) & (pl.col("origin") == TRAINING)
        if rule.length is not None or rule.normalize is not None:  # a text that normalises to nothing goes, in test rows too
            hit = (pl.col("by") == KEPT) & (pl.col("failed") == number)
        elif rule.dedup is not None and rule.dedup.exact:
            hit = alive & ~pl.struct("key", alive.alias("alive")).is_first_distinct()
        elif rule.decontaminate is not None:
            held = table.filter(pl.col("origin") == TEST)["key"].unique()
            hit = alive & pl.col("key").is_in(held.implode())
        else:
            continue
        table = table.with_columns(pl.when(hit).then(pl.lit(number, pl.Int8)).otherwise("by").alias("by"))
    training = index.filter(pl.col("origin") == TRAINING)
    several = training.group_by("key").agg(pl.col("label").n_unique().alias("labels"), pl.len().alias("rows")).filter(pl.col("labels") > 1)
    return Decided(table["by"], several.height, int(several["rows"].sum()))
