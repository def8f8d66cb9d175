"""Building blocks of the pipeline file: the frozen base record, durations, sizes, fractions, names, references."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from penstock.core import units


class Record(BaseModel):
    """Frozen; unknown keys are refused; field order is the documented order."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", value):
        raise ValueError(f"{value!r} is not a name; use 1–63 of a–z, 0–9, '-', '_', '.', starting and ending with a letter or digit")
    return value


Name = Annotated[str, AfterValidator(_name)]
Seconds = Annotated[float, BeforeValidator(units.seconds)]
Bytes = Annotated[int, BeforeValidator(units.size_bytes)]
Fraction = Annotated[float, BeforeValidator(units.fraction)]


def _one_key(value: Any) -> Any:
    """`normalize` and `{normalize: {}}` are the same rule."""
    return {value: {}} if isinstance(value, str) else value


Rule = Annotated[dict[str, Any], BeforeValidator(_one_key), PlainSerializer(lambda v: v)]
