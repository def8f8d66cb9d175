"""Values held to botocore's model of a service, as strictly as the service itself: every constraint, and no member it does not know."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterator, Mapping
from typing import Any

_SCALARS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float, datetime.datetime),
    "blob": (bytes, str),
}


@functools.cache
def model(service: str) -> Any:
    """botocore's ServiceModel."""
    import botocore.session

    return botocore.session.get_session().get_service_model(service)


def complaints(value: Any, shape: Any, path: str = "") -> Iterator[str]:
    """What is wrong with `value`, in the service's words; `path` in its spelling (`resourceConfig.instanceType`)."""
    if shape.type_name == "structure":
        yield from _structure(value, shape, path)
    elif shape.type_name == "list":
        yield from _sized(value, list, shape, path)
        for at, item in enumerate(value if isinstance(value, list) else ()):
            yield from complaints(item, shape.member, f"{path}.{at + 1}.member")
    elif shape.type_name == "map":
        yield from _sized(value, dict, shape, path)
        for key, item in value.items() if isinstance(value, dict) else ():
            yield from complaints(key, shape.key, f"{path}.{key}.key")
            yield from complaints(item, shape.value, f"{path}.{key}.member")
    else:
        yield from _scalar(value, shape, path)


def told(value: Any, shape: Any) -> str:
    """The message of a ValidationException; empty when all is well."""
    found = list(complaints(value, shape))
    many = "s" if len(found) > 1 else ""
    return f"{len(found)} validation error{many} detected: " + "; ".join(found) if found else ""


def _structure(value: Any, shape: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"Value at '{path}' failed to satisfy constraint: Member must be a structure"
        return
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"Value null at '{_at(path, name)}' failed to satisfy constraint: Member must not be null"
    if getattr(shape, "is_tagged_union", False) and len(value) != 1:
        yield f"Value at '{path}' failed to satisfy constraint: exactly one member must be set"
    for name, item in value.items():
        if name not in shape.members:
            yield f"Value at '{_at(path, name)}' failed to satisfy constraint: Member is not known"
        elif item is not None:
            yield from complaints(item, shape.members[name], _at(path, name))


def _sized(value: Any, kind: type[list[Any]] | type[dict[str, Any]], shape: Any, path: str) -> Iterator[str]:
    if not isinstance(value, kind):
        yield f"Value at '{path}' failed to satisfy constraint: Member must be a {shape.type_name}"
        return
    yield from _length(len(value), value, shape, path)


def _scalar(value: Any, shape: Any, path: str) -> Iterator[str]:
    kind = shape.type_name
    if not isinstance(value, _SCALARS.get(kind, ())) or (isinstance(value, bool) and kind != "boolean"):
        yield f"Value '{value}' at '{path}' failed to satisfy constraint: Member must be of type {kind}"
        return
    if isinstance(value, str | bytes):
        yield from _length(len(value), value, shape, path)
    if kind in ("integer", "long", "float", "double"):
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if low is not None and value < low:
            yield _said(value, path, f"Member must have value greater than or equal to {low}")
        if high is not None and value > high:
            yield _said(value, path, f"Member must have value less than or equal to {high}")
    if kind == "string":
        if shape.enum and value not in shape.enum:
            yield _said(value, path, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
        pattern = shape.metadata.get("pattern")
        if pattern and not _pattern(pattern).fullmatch(value):
            yield _said(value, path, f"Member must satisfy regular expression pattern: {pattern}")


def _length(length: int, value: Any, shape: Any, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and length < low:
        yield _said(value, path, f"Member must have length greater than or equal to {low}")
    if high is not None and length > high:
        yield _said(value, path, f"Member must have length less than or equal to {high}")


def _said(value: Any, path: str, constraint: str) -> str:
    return f"Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"


def _at(path: str, name: str) -> str:
    member = name[0].lower() + name[1:]
    return f"{path}.{member}" if path else member


@functools.cache
def _pattern(pattern: str) -> Any:
    """The service's patterns are Java's: `\\p{L}` is beyond the standard library's `re`."""
    import regex

    return regex.compile(pattern)
