"""`alerts`, `notify`, `react` and `triggers`: what is told to whom, what is done by itself, and when a pipeline runs unasked."""

from __future__ import annotations

import zoneinfo
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from penstock.spec.types import Fraction, Name, Record, Seconds, Usd

Severity = Literal["info", "warning", "critical"]
ActionName = Literal["retrain", "rollback", "scale_up", "scale_down", "stop", "shift", "ask", "alert", "run"]
Secret = Annotated[str, Field(description="best written ${secret:NAME}: it then stays out of rows and logs")]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | dict) else value


class AlertRule(Record):
    """`when`: a condition over signals, such as `error_rate > 2% for 5m`. It is over once it has not held for `clear_after`."""

    when: str
    name: Name | None = None
    severity: Severity = "warning"
    clear_after: Seconds | None = Field(default=None, ge=0, description="default: as long as the condition's `for`, at least a window")
    send: tuple[Name, ...] = Field(default=(), description="receivers of `notify`; none: all")
    repeat: Seconds = Field(default=4 * 3600.0, gt=0, description="how often it is told again while it lasts")


class Email(Record):
    to: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(min_length=1)
    sender: str
    server: str = Field(default="localhost:25", description="host:port of an SMTP server")
    user: str | None = None
    password: Secret | None = None
    tls: Literal["starttls", "tls", "none"] = "starttls"


class Webhook(Record):
    url: Secret
    headers: dict[str, Secret] = Field(default_factory=dict)
    sign: Secret | None = Field(default=None, description="webhook: key of the header x-penstock-signature, an HMAC of time and body")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value


class Pagerduty(Record):
    routing_key: Secret
    url: str = "https://events.pagerduty.com/v2/enqueue"

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"routing_key": value} if isinstance(value, str) else value


class Receiver(Record):
    """Exactly one way; `severities` empty: all. `group_wait`: how long alerts are gathered before the first message of a group."""

    slack: Webhook | None = None
    email: Email | None = None
    webhook: Webhook | None = None
    pagerduty: Pagerduty | None = None
    alertmanager: Webhook | None = None
    severities: tuple[Severity, ...] = ()
    group_wait: Seconds = Field(default=10.0, ge=0)
    group_every: Seconds = Field(default=300.0, ge=0, description="between messages about a group that changes")

    @model_validator(mode="after")
    def _one(self) -> Receiver:
        if len(self.ways) != 1:
            raise ValueError("a receiver names exactly one of slack, email, webhook, pagerduty, alertmanager")
        if any(way is not None and way.sign is not None for way in (self.slack, self.alertmanager)):
            raise ValueError("`sign` is for `webhook`: slack and alertmanager check no signature")
        return self

    @property
    def ways(self) -> list[str]:
        return [way for way in ("slack", "email", "webhook", "pagerduty", "alertmanager") if getattr(self, way) is not None]


class Heartbeat(Record):
    """A dead man's switch: `url` is asked every `every` while monitoring works; whoever watches it misses it when it does not."""

    url: Secret
    every: Seconds = Field(default=60.0, ge=1)


class Notify(Record):
    receivers: dict[Name, Receiver] = Field(default_factory=dict)
    heartbeat: Heartbeat | None = None


class With(Record):
    """What an action is given. Each action takes those that fit it; the others are refused."""

    data: Literal["captured", "captured+feedback", "feedback"] | None = Field(default=None, description="retrain: the new rows")
    since: Seconds | None = Field(default=None, gt=0, description="retrain: how far back rows are taken; default: since the last training")
    replay: Fraction | None = Field(default=None, ge=0, le=1, description="retrain: share of old rows trained on again; default: all")
    start: Literal["base", "champion"] | None = Field(default=None, description="retrain: from the base model, or on from the champion")
    holdout: Fraction | None = Field(default=None, gt=0, lt=1, description="retrain: share of new rows kept for evaluation; default 30%")
    gates: tuple[str, ...] | None = Field(
        default=None, description="retrain: beside the file's; default: better than the champion on new rows, not worse on old ones"
    )
    minimum: int | None = Field(default=None, ge=1, description="retrain: new labelled rows without which it waits; default 100")
    to: Name | None = Field(default=None, description="shift: the fallback deployment or version; run: none")
    share: Fraction | None = Field(default=None, ge=0, le=1, description="shift: of requests")
    by: int | None = Field(default=None, ge=1, description="scale: replicas; default 1")
    command: tuple[str, ...] | None = Field(default=None, min_length=1, description="run: program and arguments, no shell")
    timeout: Seconds | None = Field(default=None, gt=0, description="run: default 10 minutes")
    question: str | None = Field(default=None, max_length=2000, description="ask: what the person decides")
    then: Literal["retrain", "rollback", "stop"] | None = Field(default=None, description="ask: what a yes does")


TAKES: dict[str, tuple[str, ...]] = {
    "retrain": ("data", "since", "replay", "start", "holdout", "minimum", "gates"),
    "rollback": (),
    "scale_up": ("by",),
    "scale_down": ("by",),
    "stop": (),
    "shift": ("to", "share"),
    "ask": ("question", "then"),
    "alert": (),
    "run": ("command", "timeout"),
}


class Reaction(Record):
    """When a condition over signals holds, something is done: once per `cooldown`, within `budget` a month, `concurrency` at a time.

    `attempts`: after so many in a row that came to nothing (a retrained version that its gates refuse) a person is asked instead.
    """

    when: str
    do: Annotated[tuple[ActionName, ...], BeforeValidator(_listed)] = Field(min_length=1)
    with_: With = Field(default=With(), alias="with")
    name: Name | None = None
    cooldown: Seconds = Field(default=3600.0, ge=0)
    budget: Usd | None = Field(default=None, ge=0, description="USD a calendar month (UTC)")
    concurrency: int = Field(default=1, ge=1)
    attempts: int = Field(default=3, ge=1)
    dry_run: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Reaction:
        given = {name for name in With.model_fields if getattr(self.with_, name) is not None}
        taken = {name for action in self.do for name in TAKES[action]}
        if unused := sorted(given - taken):
            takes = ", ".join(sorted(taken)) or "nothing"
            raise ValueError(f"`with.{unused[0]}` is not taken by {' or '.join(self.do)} (which takes: {takes})")
        if "run" in self.do and self.with_.command is None:
            raise ValueError("`do: run` needs `with: {command: [program, argument, …]}`")
        if "shift" in self.do and self.with_.to is None:
            raise ValueError("`do: shift` needs `with: {to: …}`: a version of this model (a number, an alias, previous)")
        return self


class Trigger(Record):
    """Exactly one of `cron` (five fields, in `timezone`) and `data` (a source has other bytes than at the last run)."""

    cron: str | None = None
    data: Literal["arrives"] | None = None
    timezone: str = Field(default="UTC", description="a name such as Europe/Berlin")
    every: Seconds = Field(default=300.0, ge=1, description="data: how often sources are looked at")
    do: Literal["run", "retrain"] = "run"
    with_: With = Field(default=With(), alias="with")

    @model_validator(mode="after")
    def _one(self) -> Trigger:
        if (self.cron is None) == (self.data is None):
            raise ValueError("a trigger names exactly one of `cron` and `data: arrives`")
        try:
            zoneinfo.ZoneInfo(self.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{self.timezone!r} is no time zone; write it like Europe/Berlin or UTC") from None
        return self
