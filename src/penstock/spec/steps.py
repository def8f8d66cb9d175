"""What each built-in step is given: its section of the file plus what planning resolved. Enters the step's key whole.

Where external bytes lie is not here: a source or base is named by digest, so that moving a file rebuilds nothing.
"""

from __future__ import annotations

from typing import Any

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


class UserConfig(Record):
    """`code` maps each module reached from the function, transitively and locally, to the digest of its source."""

    uses: str
    values: dict[str, Any]
    inputs: dict[str, str]
    code: dict[str, str]
    environment: tuple[str, ...] = ()
