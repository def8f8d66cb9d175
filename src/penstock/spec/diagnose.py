"""Pydantic's complaints as plain sentences: the value seen, what is allowed, and the nearest right spelling."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing wrong at `loc` of the values. `at_key`: the key itself is wrong, not its value."""

    loc: Loc
    reason: str
    suggestion: str | None = None
    at_key: bool = False


_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "finite_number": "a finite number",
}
_LIMITS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def complaints(error: ValidationError, model: type[BaseModel]) -> list[Complaint]:
    # A list whose items are wrong is also called too short; only a list that is short as written is.
    items = [e for e in error.errors(include_url=False) if e["type"] != "too_short" or not e["input"]]
    return [replace(made, loc=_as_written(model, made.loc)) for made in (_complaint(item, model) for item in items)]


def nearest(word: object, choices: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(str(word), list(choices), 1, 0.6)
    return found[0] if found else None


def show(value: Any) -> str:
    """The value as one short piece of text, for a message."""
    if isinstance(value, (dict, Mapping)):
        return "a map"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    text = {True: "true", False: "false", None: "nothing"}.get(value) if isinstance(value, (bool, type(None))) else repr(value)
    text = str(text)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _complaint(item: Any, model: type[BaseModel]) -> Complaint:
    kind, loc, seen, facts = item["type"], tuple(item["loc"]), item["input"], item.get("ctx") or {}
    if loc and loc[-1] == "[key]" and kind == "value_error":
        return Complaint(loc[:-1], str(facts.get("error", item["msg"])), at_key=True)
    if loc and loc[-1] == "[key]":
        choices = _choices(facts)
        return Complaint(loc[:-1], f"unknown key; known here: {', '.join(choices)}", nearest(seen, choices), at_key=True)
    if kind == "extra_forbidden":
        known = keys_at(model, loc[:-1])
        return Complaint(
            loc,
            f"unknown key; known here: {', '.join(known)}" if known else "unknown key; none is allowed here",
            nearest(loc[-1], known),
            at_key=True,
        )
    if kind == "missing":
        return Complaint(loc, "is missing")
    if kind == "literal_error":
        choices = _choices(facts)
        return Complaint(loc, f"{show(seen)} is not known; choose {_either(choices)}", nearest(seen, choices))
    if kind == "union_tag_invalid":
        choices = [part.strip().strip("'") for part in facts["expected_tags"].split(",")]
        key = facts["discriminator"].strip("'")
        return Complaint((*loc, key), f"{show(facts['tag'])} is not known; choose {_either(choices)}", nearest(facts["tag"], choices))
    if kind in _LIMITS:
        name, word = _LIMITS[kind]
        return Complaint(loc, f"{show(seen)} is out of range; it must be {word} {facts[name]}")
    if kind in _KINDS and seen is None:
        return Complaint(loc, f"is empty; it needs {_KINDS[kind]}")
    if kind in _KINDS and (_KINDS[kind] in ("a list", "a map") or isinstance(seen, (dict, list, tuple))):
        known = keys_at(model, loc) if _KINDS[kind] == "a map" else []
        return Complaint(loc, f"needs {_KINDS[kind]}, not {show(seen)}" + (f"; its keys are {', '.join(known)}" if known else ""))
    if kind in _KINDS:
        hint = "; put it in quotes" if kind == "string_type" and isinstance(seen, (int, float)) else ""
        return Complaint(loc, f"{show(seen)} is not {_KINDS[kind]}{hint}")
    if kind in ("too_short", "too_long"):
        return Complaint(loc, "is empty; it needs at least one item" if kind == "too_short" else "has too many items")
    if kind == "string_pattern_mismatch":
        return Complaint(loc, f"{show(seen)} has the wrong form; write package.module:function")
    if kind in ("value_error", "assertion_error"):
        return Complaint(loc, str(facts.get("error", item["msg"])))
    return Complaint(loc, f"{show(seen)} is not allowed: {item['msg'][:1].lower()}{item['msg'][1:]}")


def _choices(facts: Mapping[str, Any]) -> list[str]:
    return [part.strip().strip("'") for part in str(facts.get("expected", "")).replace(" or ", ", ").split(", ") if part.strip()]


def _either(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


def keys_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """Keys that may be written in the map at `loc`, as the file spells them; empty where the map is free or unknown."""
    kind: Any = model
    for part in loc:
        kind = _inside(kind, part)
    return _keys(record) if (record := _record(kind)) else []


def _keys(record: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in record.model_fields.items()]


def _as_written(model: type[BaseModel], loc: Loc) -> Loc:
    """Without the kinds that pydantic names where one of several records was chosen by its `kind`."""
    kind: Any = model
    written: list[str | int] = []
    for part in loc:
        if _chosen(kind, part) is None:
            written.append(part)
        kind = _inside(kind, part)
    return tuple(written)


def _chosen(kind: Any, part: str | int) -> type[BaseModel] | None:
    """The record of a union that `part` names by its `kind`."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Annotated:
        return _chosen(options[0], part)
    records = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
    if len(records) < 2 or any("kind" not in record.model_fields for record in records):
        return None
    return next((record for record in records if part in typing.get_args(record.model_fields["kind"].annotation)), None)


def _inside(kind: Any, part: str | int) -> Any:
    if (chosen := _chosen(kind, part)) is not None:
        return chosen
    if record := _record(kind):
        for name, field in record.model_fields.items():
            if part in (field.alias or name, name):
                return field.annotation
        return None
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _inside(inner[0], part)
    if origin is tuple:
        return inner[0]
    if origin is dict:
        return inner[1]
    for option in inner:
        if (found := _inside(option, part)) is not None:
            return found
    return None


def _record(kind: Any) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    if typing.get_origin(kind) in (tuple, dict, typing.Literal):
        return None
    return next((found for option in typing.get_args(kind) if (found := _record(option))), None)
