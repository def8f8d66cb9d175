"""What every reader yields: batches of good rows, and bad rows with the reason they are set aside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

RAW_CLIP = 500  # characters of a bad row that the quarantine keeps
BATCH_ROWS = 32_768
LINE_LIMIT = 16 << 20  # bytes; a longer line is taken for damage, not for data
DOCUMENT_LIMIT = 512 << 20  # bytes of a JSON document or plain text, which are held whole
FRAME = {"text": pl.String, "label": pl.String}
_LONE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class BadRow:
    """`line` is the 1-based line of the source where the row starts (the row number in Parquet); 0 where unknown."""

    source: str
    line: int
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class Batch:
    """`rows` has `text` and `label` (null for text-generation), both String."""

    rows: pl.DataFrame
    bad: Sequence[BadRow] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which columns of which source; `label` is None when the task has none."""

    source: str
    text: str
    label: str | None


class NeedsCare(Exception):
    """The fast reader met something that only the careful one can place; what it yielded so far is void."""


def clip(raw: str) -> str:
    """At most RAW_CLIP characters, bytes that no encoding explained shown as \\xNN."""
    short = raw if len(raw) <= RAW_CLIP else f"{raw[:RAW_CLIP]}…"
    return _LONE.sub(lambda m: f"\\x{ord(m[0]) & 0xFF:02x}", short)


def fault(text: object, label: object, wants_label: bool) -> str | None:
    """Why this row cannot be used; None when it can. Strings are looked at as they came, before any cleaning."""
    if text is None:
        return "text is missing"
    if not isinstance(text, str):
        return f"text is not a string but {_kind(text)}"
    if not text.strip():
        return "text is empty"
    if "\0" in text:
        return "text holds a NUL byte"
    if _LONE.search(text):
        return "text is not valid in the source's encoding"
    return _label_fault(label) if wants_label else None


def _label_fault(label: object) -> str | None:
    if label is None:
        return "label is missing"
    if not isinstance(label, (str, int)):
        return f"label is not a string or integer but {_kind(label)}"
    if isinstance(label, str) and not label.strip():
        return "label is empty"
    if isinstance(label, str) and "\0" in label:
        return "label holds a NUL byte"
    return "label is not valid in the source's encoding" if isinstance(label, str) and _LONE.search(label) else None


def _kind(value: object) -> str:
    return {"dict": "an object", "list": "a list", "bool": "a boolean", "int": "an integer", "float": "a number"}.get(
        type(value).__name__, type(value).__name__
    )


@dataclass(slots=True)
class Collector:
    """Gathers single rows into batches."""

    wanted: Wanted
    texts: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    size: int = 0

    def offer(self, line: int, text: object, label: object, raw: str) -> None:
        reason = fault(text, label, self.wanted.label is not None)
        if reason is None and isinstance(text, str):
            self.texts.append(text)
            self.labels.append(None if self.wanted.label is None else label_text(label))
            self.size += len(text)
        else:
            self.reject(line, reason or "text is missing", raw)

    def reject(self, line: int, reason: str, raw: str) -> None:
        self.bad.append(BadRow(self.wanted.source, line, reason, clip(raw)))

    @property
    def full(self) -> bool:
        return len(self.texts) + len(self.bad) >= BATCH_ROWS or self.size >= LINE_LIMIT

    def take(self) -> Batch:
        batch = Batch(pl.DataFrame({"text": self.texts, "label": self.labels}, schema=FRAME), tuple(self.bad))
        self.texts, self.labels, self.bad, self.size = [], [], [], 0
        return batch


def label_text(label: object) -> str:
    """How a label is written: strings stripped, booleans as true and false, integers in decimal."""
    return str(label).lower() if isinstance(label, bool) else str(label).strip()
