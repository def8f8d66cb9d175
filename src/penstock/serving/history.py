"""Questions to the records: which requests, and KPIs by version, model, key or whatever else a record says."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.errors import BadInput, ExtraMissing
from penstock.serving.joined import read_joined
from penstock.serving.record_files import read_segment, segments

if TYPE_CHECKING:
    import polars as pl

GROUPS = ("version", "model", "key", "route", "replica", "status", "adapter", "experiment")
_NUMBERS = ("status", "prompt_tokens", "completion_tokens", "attempts")
_AMOUNTS = ("ts", "queue_ms", "first_ms", "total_ms", "guard_ms", "cost_usd", "energy_wh")
_WORDS = ("id", "model", "version", "key", "route", "replica", "adapter", "experiment", "shadow_of")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: since ≤ ts < until (seconds since the epoch), and fields that must have these values."""

    since: float = 0.0
    until: float = float("inf")
    fields: Mapping[str, Any] | None = None

    def takes(self, record: Mapping[str, Any]) -> bool:
        return self.since <= record["ts"] < self.until and all(record.get(name) == value for name, value in (self.fields or {}).items())


def newest(folder: Path, wanted: Wanted, limit: int) -> list[dict[str, Any]]:
    """At most `limit` records, newest arrival first. Older hours are not read once there are enough."""
    found: list[dict[str, Any]] = []
    paths = segments(folder, wanted.since)[::-1]
    for path, older in zip(paths, [*paths[1:], None], strict=False):
        found += (record for record in read_segment(path) if wanted.takes(record))
        if older is None or older.name[:11] != path.name[:11]:
            found = heapq.nlargest(limit, found, key=lambda record: record["ts"])
            if len(found) >= limit:
                break
    return found


def with_id(folder: Path, ident: str) -> list[dict[str, Any]]:
    """Every record of that request id, and of its shadow copies; oldest first."""
    found = [r for path in segments(folder) for r in read_segment(path) if r["id"] == ident or r.get("shadow_of") == ident]
    return sorted(found, key=lambda record: record["ts"])


def kpis(gateway: Path, wanted: Wanted, by: Sequence[str] = ("model", "version")) -> list[dict[str, Any]]:
    """One row a group, most requests first; copies for a shadow are rows of their own. `gateway`: its folder.

    `errors`: answered 5xx; `refused`: 4xx; `cancelled`: the client went away (499). Times in ms, of requests answered 2xx by way of the
    gateway; `first_…` only of those that generated; `tokens_per_s`: written by one request from its first byte on. `requests_per_s`: from
    the first to the last arrival. `rated`, `score`: how many got feedback with a score, and its mean (-1 to 1).
    Raises BadInput, ExtraMissing.
    """
    for name in by:
        if name not in GROUPS:
            raise BadInput(f"requests cannot be grouped by {name!r}; known: {', '.join(GROUPS)}")
    try:
        import polars as pl
    except ModuleNotFoundError as error:
        raise ExtraMissing("statistics over records need polars", remedy="Run: pip install 'penstock[data]'") from error
    parts = [part for path in segments(gateway / "records", wanted.since) if (part := _frame(path)) is not None]
    if not parts:
        return []
    frame = pl.concat(parts).filter((pl.col("ts") >= wanted.since) & (pl.col("ts") < wanted.until))
    frame = frame.join(_scores(gateway, wanted), on=["id", "key"], how="left", nulls_equal=True)
    for name, value in (wanted.fields or {}).items():
        frame = frame.filter(pl.col(name) == value)
    keys = [*by, pl.col("shadow_of").is_not_null().alias("shadow")]
    return frame.group_by(keys).agg(*_measures()).sort(["requests", *by], descending=[True, *([False] * len(by))]).collect().to_dicts()


def _scores(gateway: Path, wanted: Wanted) -> pl.LazyFrame:
    import polars as pl

    rows = read_joined(gateway, wanted.since, wanted.until) if any((gateway / "feedback").glob("*.jsonl")) else ()
    found = [(one.record["id"], one.record["key"], one.score) for one in rows if one.score is not None]
    return pl.LazyFrame(found, schema={"id": pl.String, "key": pl.String, "score": pl.Float64}, orient="row").unique(["id", "key"])


def _measures() -> list[pl.Expr]:
    import polars as pl

    status, total, first = pl.col("status"), pl.col("total_ms"), pl.col("first_ms")
    well = (status >= 200) & (status < 300) & (total > 0)
    wrote = well & (pl.col("completion_tokens") > 0)
    span = pl.col("ts").max() - pl.col("ts").min()
    writing = (total - first).filter(wrote & (total > first))
    written = pl.col("completion_tokens").filter(wrote & (total > first))
    measures = [
        pl.len().alias("requests"),
        (status >= 500).sum().alias("errors"),
        ((status >= 400) & (status < 499)).sum().alias("refused"),
        (status == 499).sum().alias("cancelled"),
        (pl.len() / span).alias("requests_per_s"),
        *(total.filter(well).quantile(q / 100, "linear").alias(f"p{q}_ms") for q in (50, 95, 99)),
        *(first.filter(wrote).quantile(q / 100, "linear").alias(f"first_p{q}_ms") for q in (50, 95, 99)),
        (written.sum() / writing.sum() * 1000).alias("tokens_per_s"),
        pl.col("queue_ms").filter(well).quantile(0.95, "linear").alias("queue_p95_ms"),
        (pl.col("attempts") > 1).sum().alias("retried"),
        pl.col("score").count().alias("rated"),
        pl.col("score").mean(),
    ]
    return measures + [pl.col(name).sum() for name in ("prompt_tokens", "completion_tokens", "cost_usd", "energy_wh")]


def _frame(path: Path) -> pl.LazyFrame | None:
    import polars as pl

    schema = {
        **dict.fromkeys(_NUMBERS, pl.Int64),
        **dict.fromkeys(_AMOUNTS, pl.Float64),
        **dict.fromkeys(_WORDS, pl.String),
    }
    if path.suffix == ".parquet":
        return pl.scan_parquet(path).select([pl.col(name).cast(kind) for name, kind in schema.items()])
    columns: dict[str, list[Any]] = {name: [] for name in schema}
    for record in read_segment(path):
        for name, column in columns.items():
            column.append(record.get(name))
    return pl.DataFrame(columns, schema=schema, strict=False).lazy() if columns["ts"] else None
