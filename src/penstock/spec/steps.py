"""What each built-in step is given: its section of the file plus what planning resolved. Enters the step's key whole.

Where external bytes lie is not here: a source or base is named by digest, so that moving a file rebuilds nothing.
"""

from __future__ import annotations

from typing import Any, Literal

from penstock.spec.monitor import Drift
from penstock.spec.pipeline import CleanRule, Evaluate, OptimizeRule, Source, Split, Task, Train
from penstock.spec.types import Record


class ResolvedSource(Record):
    """`digest` names the bytes; `file_name` keeps the suffix; `source.uri` and `.dataset` do not enter the key."""

    digest: str
    file_name: str
    source: Source


class DataConfig(Record):
    task: Task
    sources: tuple[ResolvedSource, ...]
    test: tuple[ResolvedSource, ...]
    clean: tuple[CleanRule, ...]
    split: Split


class TrainConfig(Record):
    """`base_digest` names the folder of the base model (None for pre-training)."""

    task: Task
    base_digest: str | None = None
    train: Train


class OptimizeConfig(Record):
    task: Task
    rules: tuple[OptimizeRule, ...]


class BundleConfig(Record):
    name: str
    task: Task


class EvaluateConfig(Record):
    task: Task
    evaluate: Evaluate


class EmbedderConfig(Record):
    """`base_digest` names the folder of the sentence encoder."""

    base_digest: str
    max_length: int = 256


class ReferenceConfig(Record):
    """`drift`: all that is declared; what the dataset says nothing of is learnt live. `mask`: as captured texts are.

    `embedder`: the encoder is an input; without it, texts are embedded by hashing.
    """

    task: Task
    drift: tuple[Drift, ...]
    mask: bool = True
    embedder: bool = False


class UserConfig(Record):
    """`code` maps each module reached from the function, transitively and locally, to the digest of its source."""

    uses: str
    values: dict[str, Any]
    inputs: dict[str, str]
    code: dict[str, str]
    environment: tuple[str, ...] = ()


class PredictConfig(Record):
    """A batch: rows of one file through one bundle. `path` is the route; `params` go into each request as they are.

    `text` is the column sent; `join` keeps the row's own columns; `keep` chooses what is written (empty: all). `seed` + row number
    seeds a generated row. `max_failures`: rows, None without end. Counts of bytes and rows bound one request.
    """

    name: str
    file_name: str
    digest: str  # of the input file's bytes
    form: Literal["rows", "openai"] = "rows"
    output: Literal["jsonl", "csv", "parquet"] = "jsonl"
    path: str = "/v1/completions"
    text: str = "text"
    join: bool = True
    keep: tuple[str, ...] = ()
    prefix: str = ""
    params: dict[str, Any] = {}  # noqa: RUF012 (pydantic copies it)
    seed: int | None = None
    digits: int = 6
    max_failures: int | None = None
    rows_per_request: int = 32
    max_payload_bytes: int = 1 << 20
    concurrency: int = 8
    rows_per_part: int = 1024
    engine_class: str | None = None  # "module:Class", for tests, as in serving/replica.py
