"""Requests held to the API's own messages: required fields, enums, fields that nobody knows; what only the service sets is dropped.

The client library keeps the API's field_behavior annotations as the first words of each field's description ("Required.", "Output only.",
"Immutable."), so they are read from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import proto
from google.protobuf.unknown_fields import UnknownFieldSet

from penstock.testing.emulators.vertex.errors import invalid

_FIELD = re.compile(r"^        (\w+) \(.*\):\n((?:            .*\n|\n)*)", re.MULTILINE)
_WORDS = ("Required", "Output only", "Optional", "Immutable", "Input only", "Identifier")


@cache
def behaviors(kind: Any) -> Mapping[str, frozenset[str]]:
    """By field, which of _WORDS its description begins with."""
    text = (kind.__doc__ or "") + "\n"
    return {name: frozenset(_leading(" ".join(told.split()))) for name, told in _FIELD.findall(text)}


def _leading(text: str) -> Iterator[str]:
    while word := next((word for word in _WORDS if text.startswith(f"{word}.")), None):
        yield word
        text = text[len(word) + 1 :].lstrip()


def check(message: Any, required: bool = True) -> None:
    """Raises VertexError (INVALID_ARGUMENT) with every violation. `required` False: fields may be left out, as in an update by mask."""
    found = list(_violations(message, "", required))
    if found:
        raise invalid(found)


def _violations(message: Any, path: str, required: bool) -> Iterator[tuple[str, str]]:
    kind: Any = type(message)
    raw, known = kind.pb(message), behaviors(kind)
    for unknown in UnknownFieldSet(raw):
        yield f"{path}{unknown.field_number}", "Unknown field."
    for field in raw.DESCRIPTOR.fields:
        words, name = known.get(field.name, known.get(f"{field.name}_", frozenset())), f"{path}{field.name}"
        if "Output only" in words:
            if required or field.name != "name":  # an update says by name which one it means
                raw.ClearField(field.name)
            continue
        if not _given(raw, field):
            if required and "Required" in words:
                yield name, "Required field is not set."
            continue
        values = list(getattr(raw, field.name)) if field.is_repeated and not _is_map(field) else [getattr(raw, field.name)]
        if field.enum_type is not None:
            numbers = field.enum_type.values_by_number
            yield from ((name, f"Invalid value: {value}.") for value in values if value not in numbers)
        elif field.message_type is not None and not _is_map(field):
            for at, inner in enumerate(_wrapped(message, field)):
                if isinstance(inner, proto.Message):
                    yield from _violations(inner, f"{name}[{at}]." if field.is_repeated else f"{name}.", required)


def _wrapped(message: Any, field: Any) -> list[Any]:
    value = getattr(message, field.name, None)
    value = getattr(message, f"{field.name}_") if value is None else value
    return list(value) if field.is_repeated else [value]


def _given(raw: Any, field: Any) -> bool:
    if field.is_repeated:
        return len(getattr(raw, field.name)) > 0
    if field.has_presence:
        return bool(raw.HasField(field.name))
    return bool(getattr(raw, field.name) != field.default_value)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
