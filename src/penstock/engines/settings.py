"""Settings of an engine: a frozen dataclass made from a mapping, unknown names and wrong values refused."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from penstock.core.errors import BadInput

SettingsT = TypeVar("SettingsT")


def settings_of(kind: type[SettingsT], given: Mapping[str, Any], engine: str) -> SettingsT:
    """`kind` filled from `given`; a value must have the type of the default. Raises BadInput naming the setting."""
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # every kind is a dataclass
    for name, value in given.items():
        if name not in defaults:
            near = difflib.get_close_matches(name, defaults, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"engine {engine!r} has no setting {name!r}{hint} (known: {', '.join(sorted(defaults))})")
        wanted = type(defaults[name])
        if type(value) is not wanted:
            raise BadInput(f"setting {name!r} of engine {engine!r} is {value!r}; it must be {wanted.__name__}")
    return kind(**given)
