"""One column of a split of the dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.core.errors import DataUnusable


def column(table: Path, name: str) -> list[Any]:
    """Values of column `name` of a Parquet file. Raises DataUnusable when there are no rows."""
    import pyarrow.parquet as pq

    values: list[Any] = pq.read_table(table, columns=[name]).column(name).to_pylist()
    if not values:
        raise DataUnusable(f"{table.name} of the dataset has no rows", remedy="Give more data, or a larger `split.validation`.")
    return values
