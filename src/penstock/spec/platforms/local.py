"""`kind: local`: this machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penstock.spec.types import Record


class LocalPlatform(Record):
    kind: Literal["local"] = "local"
    workers: int | None = Field(default=None, ge=1, description="steps at once; default: one per core")
    usd_per_hour: float = Field(default=0.0, ge=0, description="what an hour of work costs; own hardware is paid anyway")
