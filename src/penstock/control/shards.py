"""Rows of a file as shards of orders, for a vendor's service to answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from penstock.platforms.batches import grouped, line_of
from penstock.serving.batch.outcomes import Asked, asked
from penstock.serving.batch.rows import Row, read_rows
from penstock.spec.steps import PredictConfig

Shard = tuple[int, int]  # first row, rows


def rows_of(source: Path, shards: Sequence[Shard]) -> Iterator[tuple[Shard, list[Row]]]:
    """Each shard with its rows, in one pass over the file. `shards` in order."""
    at = shards[0][0] if shards else 0
    rows = read_rows(source, at)
    for first, count in shards:
        for _ in itertools.islice(rows, first - at):
            pass
        at = first + count
        yield (first, count), list(itertools.islice(rows, count))


def per_request(config: PredictConfig) -> int:
    """Rows that a request may hold: one where it generates."""
    return 1 if config.path == "/v1/completions" else config.rows_per_request


def lines_of(rows: Sequence[Row], config: PredictConfig, whole: bool) -> list[bytes]:
    """Orders of the rows that can be asked, a line each; `whole`: a line holds as many as a request may."""
    orders = [line_of(row.number, order.path, order.body) for row in rows if isinstance(order := asked(row, config), Asked)]
    return [grouped(group) for group in _groups(orders, config)] if whole else orders


def _groups(orders: Sequence[bytes], config: PredictConfig) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    size = 0
    for order in orders:
        if group and (len(group) == per_request(config) or size + len(order) > config.max_payload_bytes):
            yield group
            group, size = [], 0
        group.append(order)
        size += len(order)
    if group:
        yield group
