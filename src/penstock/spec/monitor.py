"""The `monitor` section: what is noted of live requests, what is computed from it, and what is held against the reference."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from penstock.spec.types import Fraction, Name, Record, Seconds

OWN_SLICES = ("key", "adapter", "label", "language", "route", "session")
_FIELD = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
Field_ = Annotated[str, Field(pattern=_FIELD)]


class Capture(Record):
    """Texts of requests and answers in their records; personal data is masked before anything reaches the disk."""

    sample: Fraction = Field(default=1.0, gt=0, le=1)
    mask: bool = True

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {} if value is True else value


class Drift(Record):
    """Exactly one of `input`, `output`, `feedback` and `metadata`: what is compared with the reference.

    `limit: auto` is set so that a window without drift is over it with probability `false_alarms`.
    """

    input: Literal["words", "embedding", "length", "language"] | None = None
    output: Literal["labels", "confidence", "length"] | None = None
    feedback: Literal["labels", "errors"] | None = Field(
        default=None, description="labels: the mix of true classes; errors: how often the model is wrong (concept drift)"
    )
    metadata: Field_ | None = Field(default=None, description="a field of the requests' `metadata`")
    limit: Literal["auto"] | float = "auto"
    false_alarms: Fraction = Field(default=0.001, gt=0, lt=0.5, description="of a window, when nothing drifts")
    window: int = Field(default=500, ge=50, description="requests that are compared at a time")

    @model_validator(mode="after")
    def _one(self) -> Drift:
        if len(self.given) != 1:
            raise ValueError("drift names exactly one thing to compare, such as `- {input: words}` or `- {output: labels}`")
        if isinstance(self.limit, float) and self.limit <= 0:
            raise ValueError("a limit is above 0, or `auto`")
        return self

    @property
    def given(self) -> list[str]:
        return [name for name in ("input", "output", "feedback", "metadata") if getattr(self, name) is not None]

    @property
    def signal(self) -> str:
        """The name of its signal: `drift.words`, `drift.output.length`, `drift.feedback.errors`, `drift.metadata.amount`."""
        kind = self.given[0]
        return f"drift.{self.input}" if kind == "input" else f"drift.{kind}.{getattr(self, kind)}"


class Anomaly(Record):
    """A detector over one or more signals of the deployment."""

    signals: tuple[str, ...] = Field(min_length=1)
    method: Literal["static", "seasonal", "change_point", "isolation_forest"] = "seasonal"
    season: Seconds = Field(default=86400.0, gt=0, description="length of the pattern that repeats")
    false_alarms: Fraction = Field(default=0.001, gt=0, lt=0.5, description="of a point, when nothing is odd")


class Screen(Record):
    """Live texts looked at on a sample: a share of requests with a finding. A string alone is the check."""

    check: Literal["toxicity", "injection", "personal_data"]
    on: Literal["input", "output"] = "output"
    sample: Fraction = Field(default=1.0, gt=0, le=1)
    groups: bool = Field(default=False, description="also the largest gap of findings and outcomes between identity groups named in texts")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"check": value} if isinstance(value, str) else value


class Judge(Record):
    """Another deployment rates sampled answers, 0 to 1: the signal `live.judge`."""

    deployment: Name
    rubric: str = Field(default="Is the answer correct, helpful and safe?", max_length=4000)
    sample: Fraction = Field(default=0.05, gt=0, le=1)
    per_minute: int = Field(default=30, ge=1, description="answers rated a minute at most")


class Labelling(Record):
    """Requests put to people: those the model was least sure of, and those of windows that drifted."""

    per_day: int = Field(default=200, ge=1)
    annotators: int = Field(default=1, ge=1, description="people that each is shown to")


def _slices(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Monitor(Record):
    """`capture` absent: no text is kept, only counts and times. `metadata`: fields of requests' `metadata` that go into records.

    `slices`: what windows are split by: key, adapter, label, language, route, session, or a field of `metadata`.
    """

    capture: Capture | None = None
    window: Seconds = Field(default=60.0, ge=1, le=3600)
    metadata: tuple[Field_, ...] = ()
    slices: Annotated[tuple[str, ...], BeforeValidator(_slices)] = ()
    drift: tuple[Drift, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    screens: tuple[Screen, ...] = ()
    judge: Judge | None = None
    labelling: Labelling | None = None

    @model_validator(mode="after")
    def _fields(self) -> Monitor:
        for name in (*self.slices, *(drift.metadata for drift in self.drift if drift.metadata)):
            if name not in OWN_SLICES and name not in self.metadata:
                known = ", ".join((*OWN_SLICES, *self.metadata))
                raise ValueError(f"{name!r} is no slice (known: {known}); a field of requests' metadata is named under `metadata` first")
        return self


def stored(entry: Drift, task: str | None) -> bool:
    """Whether a version brings a reference for it, made of its held-out rows; else it is learnt from the first live windows.

    Rows of a classifier are what it will be asked. Training text of a model that writes says little of its prompts.
    """
    return task == "text-classification" and entry.metadata is None and entry.output != "length"
