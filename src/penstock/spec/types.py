"""Building blocks of the pipeline file: the frozen base record, durations, sizes, fractions, names, references."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from penstock.core import units


class Record(BaseModel):
    """Frozen; unknown keys are refused; field order is the documented order."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


_NAME = r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?"


def _name(value: str) -> str:
    if not re.fullmatch(_NAME, value):
        raise ValueError(f"{value!r} is not a name; use 1–63 of a–z, 0–9, '-', '_', '.', starting and ending with a letter or digit")
    return value


def _text_by(read: Callable[[str], float]) -> Callable[[Any], Any]:
    """Text goes through `read`; anything else is left to the type, which says what is wrong with it."""
    return lambda value: read(value) if isinstance(value, str) else value


def _written(kind: str, unit: str) -> WithJsonSchema:
    """For editors: a number, or a number with its unit."""
    return WithJsonSchema(
        {"anyOf": [{"type": kind}, {"type": "string", "pattern": rf"^\s*[0-9]+(\.[0-9]+)?\s*({unit})\s*$"}]}, mode="validation"
    )


Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})]
Seconds = Annotated[float, BeforeValidator(_text_by(units.seconds)), _written("number", "ms|s|m|h|d|w")]
Bytes = Annotated[int, BeforeValidator(_text_by(units.size_bytes)), _written("integer", "[KMGT]?i?B|")]
Usd = Annotated[float, BeforeValidator(_text_by(units.usd)), _written("number", "USD|")]
Fraction = Annotated[float, BeforeValidator(_text_by(units.fraction)), _written("number", "%|")]
