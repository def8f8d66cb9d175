"""The platform's section of the pipeline file, as this package uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.core.digests import digest_json, hex_of

DAY_S = 24 * 3600
MOST_BODY, GRACE_S = 1 << 30, 60.0  # of an asynchronous request


@dataclass(frozen=True, slots=True)
class InstanceScaling:
    """Bounds of a variant's instances; `invocations` a minute that one should get, or `backlog` in line for it; pauses in seconds."""

    min: int
    max: int
    invocations: float | None = None
    backlog: float | None = None
    up_after: float = 60.0
    down_after: float = 300.0


@dataclass(frozen=True, slots=True)
class Serverless:
    memory_gb: int = 4
    concurrency: int = 8  # requests at once, of each version


@dataclass(frozen=True, slots=True)
class Asynchronous:
    """`concurrency`: requests at once of an instance; seconds that one may be worked on and stand in line."""

    concurrency: int = 4
    timeout: float = 900.0
    wait: float = 21600.0

    @property
    def longest_s(self) -> float:
        return self.wait + self.timeout


@dataclass(frozen=True, slots=True)
class DataCapture:
    """`keep`: objects stay once their requests are records."""

    percent: int = 100
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Fields and defaults are those of spec/platforms/sagemaker.py, which says what each means; times in seconds.

    `drain_s` (that a bridge may take to finish its answers) and `replica` (more of what a container is told) are for tests.
    """

    region: str
    role: str
    image: str
    bucket: str | None = None
    endpoint_url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    volume_gb: int = 30
    longest: float = DAY_S
    spot_wait: float = DAY_S
    keep_warm: float = 0.0
    machine: str | None = None
    autoscale: InstanceScaling | None = None
    serverless: Serverless | None = None
    asynchronous: Asynchronous | None = None
    capture: DataCapture | None = None
    metrics: bool = False
    registry: bool = False
    workflow_role: str | None = None
    drain_s: float = 30.0
    replica: Mapping[str, Any] = field(default_factory=dict)


_RECORDS: dict[str, Any] = {
    "autoscale": InstanceScaling,
    "serverless": Serverless,
    "asynchronous": Asynchronous,
    "capture": DataCapture,
}


def settings_of(section: Mapping[str, Any]) -> Settings:
    """`section` was checked when the file was read; `kind` is not ours."""
    given = {name: value for name, value in section.items() if name != "kind"}
    for name in ("subnets", "security_groups"):
        given[name] = tuple(given.get(name) or ())
    for name, record in _RECORDS.items():
        if given.get(name) is not None:
            given[name] = record(**given[name])
    return Settings(**given)


def patience_of(settings: Settings, beside_s: float = 0.0) -> dict[str, Any]:
    """Fields of a replica's spec where requests may be long and large. `beside_s`: that they take in other places."""
    if settings.asynchronous is None:
        return {}
    return {"limits": {"max_body_bytes": MOST_BODY, "request_timeout_s": settings.asynchronous.timeout + beside_s + GRACE_S}}


def store_mark(store: str) -> str:
    """Which project's a resource is: two of one account, or of one person, must not take each other's for lost."""
    return hex_of(digest_json(store))[:16]


def network(settings: Settings) -> dict[str, Any]:
    """The VpcConfig of a job or model; nothing when it runs in the service's own network."""
    if not settings.subnets:
        return {}
    return {"VpcConfig": {"Subnets": list(settings.subnets), "SecurityGroupIds": list(settings.security_groups)}}


def tags(*labels: Mapping[str, str]) -> list[dict[str, str]]:
    """As the service takes them: what a label may hold and a tag may not becomes `_`."""
    merged: dict[str, str] = {"penstock": "yes"}
    for rows in labels:
        merged |= rows
    return [{"Key": _clean(key)[:128], "Value": _clean(value)[:256]} for key, value in merged.items()]


def _clean(text: str) -> str:
    return "".join(c if c.isalnum() or c in " _.:/=+-@" else "_" for c in text)
