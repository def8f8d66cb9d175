"""The `deploy` section: where a model is served, how many replicas, how requests are protected, checked, routed and priced."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from penstock.spec.strategy import Strategy
from penstock.spec.types import Fraction, Name, Record, Seconds

Version = int | Literal["champion", "challenger", "previous"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class ScaleTime(Record):
    """Bounds that hold on `days` between two times of day; where several hold, the largest bounds count."""

    days: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    start: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="time of day, such as 08:00")
    end: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="time of day; before `start` it means the next day")
    timezone: str = Field(default="UTC", description="a name such as Europe/Berlin")
    min: int = Field(ge=0)
    max: int | None = Field(default=None, ge=1, description="default: that of `scale`, or `min` where that is more")

    @model_validator(mode="after")
    def _sound(self) -> ScaleTime:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}")
        if unknown := _unknown_zone(self.timezone):
            raise ValueError(unknown)
        return self


def _unknown_zone(name: str) -> str | None:
    """Why `name` is no time zone; None where it is one."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(name, sorted(zoneinfo.available_timezones()), 1)
        return f"{name!r} is no time zone" + (f"; did you mean {near[0]!r}?" if near else "; write it like Europe/Berlin or UTC")
    return None


class Scale(Record):
    """Replicas wanted: by load between `min` and `max`, by the clock where `schedule` says so."""

    min: int = Field(default=1, ge=0, description="0 lets an idle deployment go down to no replica; requests then wait for one")
    max: int | None = Field(default=None, ge=1, description="default: min, at least 1")
    target_concurrency: int = Field(default=8, ge=1, description="requests in flight that one replica should have")
    target_rate: float | None = Field(default=None, gt=0, description="requests a second that one replica should have")
    target_queue: int | None = Field(default=None, ge=1, description="waiting requests that ask for one replica more")
    down_after: Seconds = Field(default=60.0, ge=0, description="how long load must stay low before a replica goes")
    idle: Seconds = Field(default=300.0, gt=0, description="how long without a request before the last replica goes (min 0)")
    predict: bool = Field(default=False, description="start replicas ahead of the load that this time of day had on the last days")
    schedule: tuple[ScaleTime, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Scale:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"scale.max {self.max} is below scale.min {self.min}")
        return self

    @property
    def most(self) -> int:
        return self.max or max(self.min, 1)

    @property
    def sleeps(self) -> bool:
        """Whether there are times with no replica at all."""
        return self.min == 0 or any(entry.min == 0 for entry in self.schedule)


class Protect(Record):
    """What keeps one request, or one broken replica, from harming the others."""

    timeout: Seconds = Field(default=120.0, gt=0, description="for a whole request")
    first_byte: Seconds | None = Field(default=None, gt=0, description="for the first byte of an answer; then another replica is tried")
    retries: int = Field(default=2, ge=0, le=10)
    retry_budget: Fraction = Field(default=0.2, ge=0, le=1, description="retries and hedges as a share of requests, over ten seconds")
    hedge: Seconds | None = Field(default=None, gt=0, description="a second replica is asked as well after this long without an answer")
    fallback: tuple[Name, ...] = Field(default=(), description="deployments asked when no replica of this one can answer")
    concurrency: int | None = Field(default=None, ge=1, description="requests that one replica is given at once; the others wait here")
    queue: int = Field(default=1024, ge=0, description="requests that may wait; the least important is shed when one more comes")
    hold: Seconds = Field(default=60.0, ge=0, description="how long a request waits for the first replica of a deployment at zero")


GuardAction = Literal["block", "mask", "flag"]
PersonalKind = Literal[
    "url", "email", "iban", "card", "crypto", "ssn", "ip", "date", "document", "phone", "address", "postcode", "age"
]  # those of screening/personal/table.py; a test holds them together
_MAX_PHRASE = 128


class Guard(Record):
    """What is done about a finding. A string alone is the action."""

    action: GuardAction = "flag"
    on: Literal["input", "output", "both"] = "both"
    threshold: float | None = Field(default=None, ge=0, le=1, description="score from which a text counts; default: the check's own")
    types: tuple[PersonalKind, ...] = Field(default=(), description="kinds of personal data; none: all")
    words: tuple[str, ...] = Field(default=(), description="words and phrases that the check `words` looks for")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"action": value} if isinstance(value, str) else value


class Guardrail(Record):
    """Exactly one key: the check; its value: what is done about a finding. The check alone flags."""

    personal_data: Guard | None = None
    injection: Guard | None = None
    toxicity: Guard | None = None
    words: Guard | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {value: {}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_check(self) -> Guardrail:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("a guardrail names exactly one check, such as `- {personal_data: mask}`")
        check, guard = given[0], getattr(self, given[0])
        if guard.action == "mask" and check in ("injection", "toxicity"):
            raise ValueError(f"{check} is a property of a whole text, which cannot be masked; choose block or flag")
        if (check == "words") != bool(guard.words):
            raise ValueError("`words: {words: […]}` needs its words, and only it has them")
        if guard.types and check != "personal_data":
            raise ValueError(f"`types` are kinds of personal data; {check} has none")
        if guard.threshold is not None and check in ("personal_data", "words"):
            raise ValueError(f"{check} finds or does not find: it has no score, so no `threshold`")
        for phrase in guard.words:
            if not 0 < len(phrase.strip()) <= len(phrase) <= _MAX_PHRASE:
                raise ValueError(f"a word or phrase has 1–{_MAX_PHRASE} characters, and not only spaces: {phrase[:40]!r}")
        return self


class HeaderRule(Record):
    """Requests whose header has this value go to this version."""

    header: str = Field(pattern=r"^[A-Za-z0-9-]{1,64}$")
    value: str
    version: Version


class Shadow(Record):
    """A copy of `sample` of the requests goes to `version`; its answers are recorded and never seen by clients."""

    version: Version = "challenger"
    sample: Fraction = Field(default=1.0, gt=0, le=1)


class Experiment(Record):
    """Two versions side by side until a sequential test says which is better (or `stop_after` requests passed)."""

    challenger: Version = "challenger"
    share: Fraction = Field(default=0.5, gt=0, lt=1)
    metric: Literal["reward", "success", "latency"] = "reward"
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    stop_after: int | None = Field(default=None, ge=100, description="requests of both after which it ends undecided")
    then: Literal["report", "switch"] = "report"


class Bandit(Record):
    """Thompson sampling over versions: traffic moves to what earns more reward; none falls below `explore`."""

    versions: tuple[Version, ...] = Field(min_length=2)
    explore: Fraction = Field(default=0.05, gt=0, lt=0.5)
    every: Seconds = Field(default=60.0, gt=0)
    metric: Literal["reward", "success", "latency"] = "reward"
    half_life: Seconds = Field(default=86400.0, gt=0, description="how long until what was seen counts half: the world changes")


class Traffic(Record):
    headers: tuple[HeaderRule, ...] = ()
    shadow: Shadow | None = None
    experiment: Experiment | None = None
    bandit: Bandit | None = None

    @model_validator(mode="after")
    def _one_mover(self) -> Traffic:
        if self.experiment is not None and self.bandit is not None:
            raise ValueError("`experiment` and `bandit` both move traffic; choose one")
        return self


class Price(Record):
    """What a request costs, for records, budgets and reports. Zero is the default: own hardware is paid anyway."""

    prompt: float = Field(default=0.0, ge=0, description="USD a million tokens read")
    completion: float = Field(default=0.0, ge=0, description="USD a million tokens written")
    request: float = Field(default=0.0, ge=0, description="USD a request")


_ADAPTER = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # as serving/adapters.py has it; a test holds them together


def adapter_name(value: str) -> str:
    """The name itself. Raises ValueError."""
    if not re.fullmatch(_ADAPTER, value):
        raise ValueError(f"{value[:80]!r} cannot name an adapter; use up to 64 letters, digits, dots, dashes, underscores")
    return value


AdapterName = Annotated[str, AfterValidator(adapter_name)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Deploy(Record):
    """`name` is the model name that clients send; it defaults to the pipeline's name. `engine` holds settings of the engine.

    `strategy`: how a new version takes over; without one it is swapped in as soon as it is ready. `rollback_when`: conditions over the new
    version's own requests; each is tested so that looking often does not make it likelier to be believed.
    `adapters`: LoRA adapters by the name that clients ask for after `NAME:`; each a `registry:MODEL@VERSION` that was trained with
    `method: lora`, a folder of PEFT's files, or the `sha256:…` of an adapter's artifact.
    """

    to: Name = "laptop"
    name: Name | None = None
    engine: dict[str, Any] = Field(default_factory=dict)
    adapters: dict[AdapterName, str] = Field(default_factory=dict, max_length=256)
    scale: Scale = Scale()
    protect: Protect = Protect()
    guardrails: tuple[Guardrail, ...] = ()
    traffic: Traffic = Traffic()
    strategy: Strategy | None = None
    rollback_when: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    price: Price = Price()

    @model_validator(mode="after")
    def _watched(self) -> Deploy:
        if self.rollback_when and self.strategy is None:
            raise ValueError("`rollback_when` needs a `strategy`, such as {canary: [5%, 25%, 100%], hold: 2m}")
        if self.strategy is not None and (self.traffic.experiment is not None or self.traffic.bandit is not None):
            raise ValueError("`strategy` and `traffic.experiment` or `.bandit` both decide what a new version gets; choose one")
        return self
