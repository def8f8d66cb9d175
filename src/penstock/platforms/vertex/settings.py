"""The platform's section of the pipeline file, as this package uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.core.digests import digest_json, hex_of

DAY_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Autoscale:
    """Bounds of a version's replicas, and the percentages that one should be busy."""

    max: int
    min: int = 1
    cpu: int | None = None
    gpu: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Fields and defaults are those of spec/platforms/vertex.py, which says what each means; times in seconds.

    `drain_s` (that a bridge may take to finish its answers) and `replica` (more of what a container is told) are for tests.
    """

    project: str
    region: str
    image: str
    service_account: str | None = None
    network: str | None = None
    endpoint_url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    machine: str | None = None
    autoscale: Autoscale | None = None
    disk_gb: int = 100
    longest: float = DAY_S
    metrics: bool = False
    registry: bool = False
    drain_s: float = 30.0
    replica: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.region}"


def settings_of(section: Mapping[str, Any]) -> Settings:
    """`section` was checked when the file was read; `kind` is not ours."""
    given = {name: value for name, value in section.items() if name != "kind"}
    if given.get("autoscale"):
        given["autoscale"] = Autoscale(**given["autoscale"])
    return Settings(**given)


def store_mark(store: str) -> str:
    """Which project's a resource is: two of one cloud project, or of one person, must not take each other's for lost."""
    return hex_of(digest_json(store))[:16]


def labels(*given: Mapping[str, str]) -> dict[str, str]:
    """As the service takes them: lower case, digits, `-` and `_`, at most 63; anything else becomes `_`."""
    merged: dict[str, str] = {"penstock": "yes"}
    for rows in given:
        merged |= rows
    return {_clean(key): _clean(value) for key, value in merged.items()}


def _clean(text: str) -> str:
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in text.lower())[:63]
