"""The pipeline: one file, one object. Section by section; each stage's config is its section, defined here once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from penstock.spec import structure
from penstock.spec.deploy import Deploy
from penstock.spec.monitor import Monitor
from penstock.spec.platforms import Platforms
from penstock.spec.react import AlertRule, Notify, Reaction, Trigger
from penstock.spec.resources import Resources, Retry, StepOptions, chosen
from penstock.spec.types import Fraction, Name, Record, Seconds

Task = Literal["text-classification", "text-generation"]


class Source(Record):
    """One input of rows: `uri` (a path relative to the file, or a URL) or `dataset` (a named entry, `banking77/train`).

    `name`: its rows are also measured on their own, as `NAME.accuracy`. `sample`: share of its rows that is taken, always the same ones.
    """

    uri: str | None = None
    dataset: str | None = None
    format: Literal["csv", "tsv", "jsonl", "json", "parquet", "text"] | None = None
    encoding: str | None = None
    text: str = "text"
    label: str | None = None
    licence: str | None = None
    contains_personal_data: bool = False
    name: Name | None = None
    sample: Fraction | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.uri is None) == (self.dataset is None):
            raise ValueError("a source needs exactly one of `uri` and `dataset`")
        return self


class Normalize(Record):
    """Unicode NFC, control characters out, runs of white space to one space (new lines kept for text-generation)."""


class Dedup(Record):
    exact: bool = True


class Length(Record):
    """Rows whose text is shorter or longer than this many characters are removed."""

    minimum: int = Field(default=1, ge=0)
    maximum: int | None = Field(default=None, ge=1)


class Decontaminate(Record):
    against: Literal["test"] = "test"


class CleanRule(Record):
    """Exactly one key: the rule; its value: the rule's options."""

    normalize: Normalize | None = None
    dedup: Dedup | None = None
    length: Length | None = None
    decontaminate: Decontaminate | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {value: {}}
        if isinstance(value, dict) and value.get("decontaminate") == "test":
            return {**value, "decontaminate": {}}
        if isinstance(value, dict) and value.get("dedup") in ("exact", True):
            return {**value, "dedup": {}}
        return value

    @model_validator(mode="after")
    def _one_rule(self) -> CleanRule:
        if len(chosen(self)) != 1:
            raise ValueError("a cleaning step names exactly one rule, such as `- normalize` or `- {dedup: {exact: true}}`")
        return self

    @property
    def name(self) -> str:
        return chosen(self)[0]


class Split(Record):
    """`validation` and `test` are fractions of the training rows; `test` is ignored when a test source is given."""

    validation: Fraction = Field(default=0.1, gt=0, lt=1)
    test: Fraction = Field(default=0.1, ge=0, lt=1)
    stratify: bool = True
    seed: int = 7


class Data(Record):
    sources: tuple[Source, ...] = Field(min_length=1)
    test: tuple[Source, ...] = ()
    clean: tuple[CleanRule, ...] = (CleanRule(normalize=Normalize()), CleanRule(dedup=Dedup()), CleanRule(decontaminate=Decontaminate()))
    split: Split = Split()


class Full(Record):
    """Every weight is trained."""


class Lora(Record):
    """Low-rank adapters (Hu et al. 2021), merged into the weights at the end."""

    rank: int = Field(default=16, ge=1, le=512)
    alpha: float | None = Field(default=None, gt=0, description="default: 2 × rank")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] | None = None


class Pretrain(Record):
    """A Llama-shaped decoder from random weights, with a tokenizer trained on the same text."""

    layers: int = Field(default=4, ge=1)
    hidden: int = Field(default=256, ge=8, description="width; divisible by heads")
    heads: int = Field(default=4, ge=1)
    context: int = Field(default=256, ge=8, description="tokens")
    vocabulary: int = Field(default=512, ge=64, description="tokens, special ones included")
    tokenizer: Literal["bpe", "characters"] = "bpe"

    @model_validator(mode="after")
    def _divides(self) -> Pretrain:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not divisible by heads {self.heads}")
        return self


class Method(Record):
    """Exactly one key; `full`, `lora` and `pretrain` may stand alone."""

    full: Full | None = None
    lora: Lora | None = None
    pretrain: Pretrain | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        return {value: {}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_method(self) -> Method:
        if len(chosen(self)) != 1:
            raise ValueError("`method` names exactly one of full, lora, pretrain")
        return self

    @property
    def name(self) -> str:
        return chosen(self)[0]


class EarlyStopping(Record):
    metric: Literal["loss", "accuracy", "macro_f1"] = "loss"
    patience: int = Field(default=2, ge=1, description="evaluations without improvement")


class Train(Record):
    """Defaults left as None are chosen by the method and said in the log and the model's training.json."""

    base: str | None = None
    method: Method = Method(full=Full())
    epochs: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1, description="optimizer steps; wins over epochs")
    batch_size: int | None = Field(default=None, ge=1, description="rows (encoder) or sequences (decoder)")
    learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: Fraction = Field(default=0.06, ge=0, lt=1, description="share of all steps")
    dropout: float | None = Field(default=None, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    max_length: int | None = Field(default=None, ge=8, description="tokens; longer rows are cut")
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    early_stopping: EarlyStopping | None = None
    checkpoint_every: Seconds = 20.0
    seed: int = 7


class Quantize(Record):
    to: Literal["int8"] = "int8"


class OptimizeRule(Record):
    quantize: Quantize | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {value: {}}
        if isinstance(value, dict) and isinstance(value.get("quantize"), str):
            return {**value, "quantize": {"to": value["quantize"]}}
        return value

    @model_validator(mode="after")
    def _one_rule(self) -> OptimizeRule:
        if len(chosen(self)) != 1:
            raise ValueError("an optimisation names exactly one rule, such as `- {quantize: int8}`")
        return self


Metric = Literal[
    "accuracy", "precision", "recall", "macro_f1", "micro_f1", "weighted_f1", "calibration", "perplexity", "bits_per_character", "latency"
]


class Evaluate(Record):
    """`metrics` empty means every metric that fits the task."""

    metrics: tuple[Metric, ...] = ()
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=1000, ge=100, description="bootstrap resamples behind the intervals")
    latency_requests: int = Field(default=200, ge=10)


class UserStep(Record):
    """A function of the user's own. `inputs` maps its parameters to `step` or `step.output` of other steps."""

    name: Name
    uses: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="package.module:function")
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    inputs: dict[str, str] = Field(default_factory=dict)
    after: tuple[str, ...] = ()
    environment: tuple[str, ...] = Field(default=(), description="pinned requirements, such as name==1.2")
    timeout: Seconds | None = Field(default=None, gt=0)
    retry: Retry = Retry()
    resources: Resources = Resources()


StepName = Literal["data", "train", "optimize", "bundle", "evaluate", "embedder", "reference"]


def _gates(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Pipeline(Record):
    """The whole file. `data` may be absent when only user steps are declared."""

    name: Name
    task: Task | None = None
    data: Data | None = None
    train: Train | None = None
    optimize: tuple[OptimizeRule, ...] | None = None
    evaluate: Evaluate | None = None
    gates: Annotated[tuple[str, ...], BeforeValidator(_gates)] = ()
    deploy: Deploy | None = None
    monitor: Monitor | None = None
    alerts: tuple[AlertRule, ...] = ()
    notify: Notify | None = None
    react: tuple[Reaction, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    steps: tuple[UserStep, ...] = ()
    options: dict[StepName, StepOptions] = Field(default_factory=dict)
    platforms: Platforms = Field(default_factory=dict, validate_default=True)

    @model_validator(mode="after")
    def _structure(self, info: ValidationInfo) -> Pipeline:
        if info.context is not structure.CHECKED:
            found = [f"{'.'.join(map(str, c.loc))}: {c.reason}" if c.loc else c.reason for c in structure.complaints(dump(self))]
            if found:
                raise ValueError("; ".join(found))
        return self


def dump(pipeline: Pipeline) -> dict[str, Any]:
    """The pipeline as JSON values, keys as in the file, defaults written out; equal pipelines give equal dumps."""
    return pipeline.model_dump(mode="json", by_alias=True, exclude_none=True)
