"""Accelerators by their neutral name, whatever a platform calls them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from penstock.spec.types import Record

Accelerator = Literal[
    "t4",
    "l4",
    "a10g",
    "v100",
    "a100-40gb",
    "a100-80gb",
    "l40s",
    "h100-80gb",
    "h200",
    "b200",
    "mi300x",
    "tpu-v5e",
    "tpu-v5p",
    "tpu-v6e",
    "trainium1",
    "trainium2",
    "inferentia2",
    "gaudi2",
]  # those of platforms/remote/machines.py; a test holds them together


OTHERWISE = ("tpu", "trainium", "inferentia", "gaudi")  # driven by runtimes that have one process for all chips, or start their own


class Gpu(Record):
    """Accelerators by their neutral name, whatever a platform calls them. A number alone: so many of any kind."""

    type: Accelerator | None = None
    count: int = Field(default=1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"type": value}
        return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value
