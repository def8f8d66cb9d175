"""Who goes where. Rows of equal text move together, so no text is in two splits; the choice depends on the seed and the text alone.

Within each label, groups are ordered by a hash of seed and key and taken until the label's share is full; shares are rounded
so that they add up (largest remainder), and at least one row of every label stays in training.
"""

from __future__ import annotations

from hashlib import blake2b

import polars as pl

from penstock.spec.pipeline import Split

TRAIN, VALIDATION, TEST = 0, 1, 2
NAMES = ("train", "validation", "test")


def assign(keys: pl.Series, labels: pl.Series, split: Split, with_test: bool) -> pl.Series:
    """Split number of each row. `with_test`: carve a test split as well. `labels` may be all null."""
    rows = pl.DataFrame({"key": keys, "label": labels})
    if not split.stratify:
        rows = rows.with_columns(pl.lit(None, pl.String).alias("label"))
    groups = rows.group_by("key").agg(pl.col("label").min(), pl.len().alias("rows"))
    seed = f"{split.seed}:".encode()
    order = [int.from_bytes(blake2b(seed + key, digest_size=8).digest()) for key in groups["key"]]
    groups = groups.with_columns(pl.Series("order", order, dtype=pl.UInt64)).sort("label", "order", "key", nulls_last=True)
    sizes = groups.group_by("label", maintain_order=True).agg(pl.col("rows").sum(), pl.len().alias("groups"))
    wanted_test = _quotas(sizes["rows"].to_list(), split.test if with_test else 0.0)
    wanted_validation = _quotas(sizes["rows"].to_list(), split.validation)
    chosen: list[int] = []
    for part, test, validation in zip(groups.partition_by("label", maintain_order=True), wanted_test, wanted_validation, strict=True):
        chosen += _fill(part["rows"].to_list(), test, validation)
    groups = groups.with_columns(pl.Series("split", chosen, dtype=pl.UInt8))
    return rows.join(groups.select("key", "split"), on="key", how="left", maintain_order="left")["split"]


def _quotas(sizes: list[int], share: float) -> list[int]:
    """Whole rows per stratum that add up to the rounded share of all."""
    exact = [size * share for size in sizes]
    floors = [int(value) for value in exact]
    left = round(sum(sizes) * share) - sum(floors)
    by_remainder = sorted(range(len(sizes)), key=lambda i: (floors[i] - exact[i], i))
    for i in by_remainder[:left]:
        floors[i] += 1
    return floors


def _fill(sizes: list[int], test: int, validation: int) -> list[int]:
    """Takes groups in order: test, then validation, the rest trains. A group that would overfill is passed over; one always trains."""
    chosen = [TRAIN] * len(sizes)
    room = {TEST: test, VALIDATION: validation}
    for i, size in enumerate(sizes[:-1]):
        for split in (TEST, VALIDATION):
            if size <= room[split]:
                chosen[i] = split
                room[split] -= size
                break
    return chosen
