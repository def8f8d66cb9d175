"""The `monitor` section: what is noted of live requests."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from penstock.spec.types import Fraction, Record


class Capture(Record):
    """Texts of requests and answers in their records; personal data is masked before anything reaches the disk."""

    sample: Fraction = Field(default=1.0, gt=0, le=1)
    mask: bool = True

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {} if value is True else value


class Monitor(Record):
    """`capture` absent: no text is kept, only counts and times."""

    capture: Capture | None = None
