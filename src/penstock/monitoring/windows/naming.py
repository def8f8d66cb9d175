"""What rows belong to: the kind of request, version, replica, and the values of slices and labels, as short printable texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    raw = [(row.get("shadow_of") is None, row.get("fallback_for") is None, row.get("version"), row.get("replica")) for row in rows]
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


def _base(own: bool, asked: bool, version: Any, replica: Any) -> Base:
    """`own`: no copy for a shadow; `asked`: no answer in another model's place."""
    return ("live" if asked else "fallback") if own else "shadow", text_of(version) or "", text_of(replica) or ""


def _metadata(row: Row) -> Mapping[str, Any]:
    found = row.get("metadata")
    if isinstance(found, str):  # a table keeps it as text
        try:
            found = orjson.loads(found)
        except orjson.JSONDecodeError:
            return {}
    return found if isinstance(found, Mapping) else {}
