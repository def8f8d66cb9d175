"""Fields of a JSON object, each checked for its kind and range; a wrong one is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.serving.errors import RequestRefused

_KINDS: Mapping[type, str] = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


def bad(message: str, param: str | None, code: str = "invalid_value") -> RequestRefused:
    return RequestRefused(400, message, code, param)


def kind_of(value: Any) -> str:
    return "nothing" if value is None else _KINDS.get(type(value), "something else")


def integer(value: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    """The whole number at `name`; None when absent or null. A float without a fraction is none: 1.0 is refused."""
    given = value.get(name)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not low <= given <= high:
        raise bad(f"{name} must be a whole number from {low} to {high}, not {given!r:.60}", name)
    return given


def number(value: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    given = value.get(name)
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not low <= given <= high:
        raise bad(f"{name} must be a number from {low:g} to {high:g}, not {given!r:.60}", name)
    return float(given)


def boolean(value: Mapping[str, Any], name: str) -> bool:
    given = value.get(name)
    if given is None or isinstance(given, bool):
        return bool(given)
    raise bad(f"{name} must be true or false, not {given!r:.60}", name)


def string(value: Mapping[str, Any], name: str, most: int) -> str | None:
    """The text at `name`, 1 to `most` characters; None when absent or null."""
    given = value.get(name)
    if given is None:
        return None
    if not isinstance(given, str) or not 1 <= len(given) <= most:
        seen = f"{len(given)} characters" if isinstance(given, str) else kind_of(given)
        raise bad(f"{name} must be a string of 1 to {most} characters, not {seen}", name)
    return given


def token_ids(value: Any, name: str, most: int) -> list[int]:
    """A list of token ids, one to `most`. Whether the model knows them is the engine's to say."""
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        seen = f"{len(value)} of them" if isinstance(value, list) else kind_of(value)
        raise bad(f"{name} must be a list of 1 to {most} token ids, not {seen}", name)
    for at, given in enumerate(value):
        if type(given) is not int or not 0 <= given < 1 << 31:
            raise bad(f"{name}[{at}] must be a token id, not {given!r:.60}", f"{name}[{at}]")
    return value
