"""What rows belong to: the kind of request, version, replica, and the values of slices and labels, as short printable texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import orjson

from penstock.monitoring.windows.window import Kind

Row = Mapping[str, Any]
Base = tuple[Kind, str, str]  # kind, version, replica
FIELDS = (
    "key",
    "adapter",
    "label",
    "language",
    "route",
    "session",
)  # slices that are fields of a record; others are fields of its metadata
MAX_NAME = 120
_PARTS = ("shadow_of", "fallback_for", "version", "replica")
_parts = itemgetter(*_PARTS)


def text_of(value: Any) -> str | None:
    """A value as the name of a slice or label; None where there is none, or it is no single value."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        short = value if len(value) <= MAX_NAME else f"{value[: MAX_NAME - 1]}…"
        return short if short.isprintable() else "".join(c if c.isprintable() else "?" for c in short)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, (int, float)) else None


def texts(values: Sequence[Any]) -> list[str | None]:
    """text_of each; equal texts are looked at once."""
    known = {value: text_of(value) for value in {value for value in values if type(value) is str}}
    return [known[value] if type(value) is str else text_of(value) for value in values]


def bases(rows: Sequence[Row]) -> list[Base]:
    try:
        raw = [_parts(row) for row in rows]
    except KeyError:  # rows of before there was one of these
        raw = [tuple(row.get(name) for name in _PARTS) for row in rows]
    try:
        known = {key: _base(*key) for key in set(raw)}
    except TypeError:  # a version that is no single value
        return [_base(*key) for key in raw]
    return [known[key] for key in raw]


def base_of(row: Row) -> Base:
    return bases((row,))[0]


def slice_values(name: str, rows: Sequence[Row]) -> list[str | None]:
    """Of each row; None where it has none."""
    if name in FIELDS:
        return texts([row.get(name) for row in rows])
    return texts([_metadata(row).get(name) for row in rows])


def _base(copied: Any, instead: Any, version: Any, replica: Any) -> Base:
    """`copied`: whose copy for a shadow it is; `instead`: in which model's place it was answered."""
    kind: Kind = "shadow" if copied is not None else "live" if instead is None else "fallback"
    return kind, text_of(version) or "", text_of(replica) or ""


def _metadata(row: Row) -> Mapping[str, Any]:
    found = row.get("metadata")
    if isinstance(found, str):  # a table keeps it as text
        try:
            found = orjson.loads(found)
        except orjson.JSONDecodeError:
            return {}
    return found if isinstance(found, Mapping) else {}
