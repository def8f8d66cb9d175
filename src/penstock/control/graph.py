"""A pipeline as a graph of steps, with everything outside the store named by digest. Pure but for reading what is named.

The graph is kept in the run's spec, so a run can be repeated from its record alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from penstock.control.code import local_code
from penstock.core.errors import BadInput, ModelUnavailable
from penstock.core.home import Home
from penstock.spec.monitor import stored
from penstock.spec.pipeline import Data, Evaluate, Pipeline, Source, Train
from penstock.spec.pipeline import UserStep as UserStepSpec
from penstock.spec.platforms.accelerators import OTHERWISE
from penstock.spec.resources import Placement, Resources, Retry, StepOptions, chosen
from penstock.spec.steps import (
    BundleConfig,
    DataConfig,
    EmbedderConfig,
    EvaluateConfig,
    OptimizeConfig,
    ReferenceConfig,
    ResolvedSource,
    TrainConfig,
    UserConfig,
)
from penstock.spec.types import Record

CHAMPION_STEP = "evaluate-champion"
ENCODER = "minilm"  # the packaged model by which drift compares what texts mean


@dataclass(frozen=True, slots=True)
class Binding:
    """Where an input comes from: output `output` of step `step`, or (step empty) the artifact `digest` itself."""

    step: str = ""
    output: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """One step. `config` is the JSON of the stage's config and enters the key; `external` (digest → place) does not.

    `aside` holds values of the config that change no byte of an output, by section: the stage is given them, the key is not.
    `otherwise`: for each further placement its `on` (a platform, "" for the run's) and what differs there, by the names of fields.
    """

    name: str
    stage: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Binding] = field(default_factory=dict)
    after: Sequence[str] = ()
    external: Mapping[str, str] = field(default_factory=dict)
    environment: Sequence[str] = ()
    code_path: Sequence[str] = ()
    timeout_s: float | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    gpus: int = 0
    gpu_type: str | None = None
    nodes: int = 1
    spot: bool = False
    machine: str | None = None
    otherwise: Sequence[Mapping[str, Any]] = ()
    processes: int = 1
    attempts: int = 3
    backoff_s: float = 1.0
    retry_on: Sequence[str] = ()
    aside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def whole_config(self) -> dict[str, Any]:
        """What the stage is given."""
        return {**self.config, **{section: {**self.config.get(section, {}), **values} for section, values in self.aside.items()}}

    @property
    def needs(self) -> set[str]:
        """Names of the steps that must be done before this one."""
        return {b.step for b in self.inputs.values() if b.step} | set(self.after)

    def placed(self, place: int) -> tuple[str, Node]:
        """The platform ("" for the run's) and the step as it is asked for at a placement; 0 is its first."""
        if not place:
            return "", self
        there = dict(self.otherwise[place - 1])
        return there.pop("on"), replace(self, **there)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Node:
        return cls(**{**value, "inputs": {k: Binding(**b) for k, b in value["inputs"].items()}})


Graph = tuple[Node, ...]


def build_graph(pipeline: Pipeline, beside: Path, home: Home, champion_bundle: str | None = None) -> Graph:
    """All steps in an order in which each comes after what it needs.

    Raises BadInput and its kin when a source, a base model or a user's module cannot be found.
    """
    nodes = [*_built_in(pipeline, beside, home, champion_bundle), *(_user(step, beside) for step in pipeline.steps)]
    return _ordered(nodes)


def _built_in(pipeline: Pipeline, beside: Path, home: Home, champion_bundle: str | None) -> list[Node]:
    if pipeline.data is None or pipeline.task is None:
        return []
    nodes = [_data(pipeline, pipeline.data, beside, home)]
    if pipeline.train is None:
        return nodes
    dataset, model = Binding("data", "dataset"), Binding("train", "model")
    nodes.append(_train(pipeline, pipeline.train, beside, home))
    optimize = OptimizeConfig(task=pipeline.task, rules=pipeline.optimize or ())
    nodes.append(_node(pipeline, "optimize", optimize, {"model": model, "dataset": dataset}))
    bundle_inputs = {"export": Binding("optimize", "export"), "model": model, "dataset": dataset}
    nodes.append(_node(pipeline, "bundle", BundleConfig(name=pipeline.name, task=pipeline.task), bundle_inputs))
    evaluate = EvaluateConfig(task=pipeline.task, evaluate=pipeline.evaluate or Evaluate())
    nodes.append(_node(pipeline, "evaluate", evaluate, {"bundle": Binding("bundle", "bundle"), "dataset": dataset}))
    if champion_bundle:
        inputs = {"bundle": Binding(digest=champion_bundle), "dataset": dataset}
        nodes.append(_node(pipeline, "evaluate", evaluate, inputs, name=CHAMPION_STEP))
    return [*nodes, *_of_drift(pipeline, dataset, beside, home)]


def _of_drift(pipeline: Pipeline, dataset: Binding, beside: Path, home: Home) -> list[Node]:
    """The step that makes what live requests are compared with, and the encoder that it needs; none where no such drift is declared.

    Without the packaged encoder texts are compared by hashed words, which the step says.
    """
    monitor, task = pipeline.monitor, pipeline.task
    if monitor is None or task is None or not any(stored(entry, task) for entry in monitor.drift):
        return []
    made, inputs = [], {"bundle": Binding("bundle", "bundle"), "dataset": dataset}
    if any(entry.input == "embedding" for entry in monitor.drift) and (encoder := _embedder(pipeline, beside, home)) is not None:
        made.append(encoder)
        inputs["embedder"] = Binding("embedder", "embedder")
    masked = monitor.capture is None or monitor.capture.mask
    config = ReferenceConfig(task=task, drift=monitor.drift, mask=masked, embedder="embedder" in inputs)
    return [*made, _node(pipeline, "reference", config, inputs)]


def _embedder(pipeline: Pipeline, beside: Path, home: Home) -> Node | None:
    from penstock.stages.train.bases import locate_base

    try:
        path, digest = locate_base(ENCODER, beside, home.cache)
    except ModelUnavailable:
        return None
    return _node(pipeline, "embedder", EmbedderConfig(base_digest=digest), {}, external={digest: str(path)})


def _data(pipeline: Pipeline, data: Data, beside: Path, home: Home) -> Node:
    assert pipeline.task is not None
    external: dict[str, str] = {}
    config = DataConfig(
        task=pipeline.task,
        sources=tuple(resolved(s, beside, home.cache, external) for s in data.sources),
        test=tuple(resolved(s, beside, home.cache, external) for s in data.test),
        clean=data.clean,
        split=data.split,
    )
    return _node(pipeline, "data", config, {}, external=external)


def resolved(source: Source, beside: Path, cache: Path, external: dict[str, str]) -> ResolvedSource:
    """The source by the digest that it has now; `external` is told where its bytes lie. Raises SourceUnreadable and its kin."""
    from penstock.stages.data.locate import locate

    located = locate(source, beside, cache)
    external[located.digest] = str(located.path)
    named = _as_entry(source) if source.dataset else source.model_copy(update={"uri": "-"})
    return ResolvedSource(digest=located.digest, file_name=located.path.name, source=named)


def _as_entry(source: Source) -> Source:
    """What a named entry says of itself (its columns, its licence) where the file says nothing."""
    from penstock.stages.data.catalog import entry_named

    entry = entry_named(source.dataset or "")
    known = {"text": entry.text, "label": entry.label, "licence": entry.licence, "format": entry.format}
    return source.model_copy(update={name: value for name, value in known.items() if name not in source.model_fields_set})


def _train(pipeline: Pipeline, train: Train, beside: Path, home: Home) -> Node:
    assert pipeline.task is not None
    external: dict[str, str] = {}
    digest = None
    if train.base is not None:
        from penstock.stages.train.bases import locate_base

        path, digest = locate_base(train.base, beside, home.cache)
        external[digest] = str(path)
    # The base is named by digest alone, and when checkpoints are taken changes no byte of the model.
    section = train.model_copy(update={"base": None, "checkpoint_every": Train.model_fields["checkpoint_every"].default})
    config = TrainConfig(task=pipeline.task, base_digest=digest, train=section)
    node = _node(pipeline, "train", config, {"dataset": Binding("data", "dataset")}, external=external)
    return replace(node, aside={"train": {"checkpoint_every": train.checkpoint_every}})


def _node(
    pipeline: Pipeline,
    stage: str,
    config: Record,
    inputs: Mapping[str, Binding],
    *,
    name: str | None = None,
    external: Mapping[str, str] | None = None,
) -> Node:
    options = next((o for key, o in pipeline.options.items() if key == stage), StepOptions())
    return Node(
        name=name or stage,
        stage=stage,
        config=_plain(config),
        inputs=dict(inputs),
        external=dict(external or {}),
        timeout_s=options.timeout,
        **_resources(options.resources, training=stage == "train"),
        **_retry(options.retry),
    )


def _retry(retry: Retry) -> dict[str, Any]:
    return {"attempts": retry.attempts, "backoff_s": retry.backoff, "retry_on": tuple(retry.on)}


def _resources(wanted: Resources, *, training: bool = False) -> dict[str, Any]:
    gpu, each = wanted.gpu, training and not (wanted.gpu and (wanted.gpu.type or "").startswith(OTHERWISE))
    return {
        "memory_bytes": wanted.memory,
        "cpus": wanted.cpus,
        "gpus": wanted.accelerators,
        "gpu_type": gpu.type if gpu is not None else None,
        "nodes": wanted.nodes,
        "spot": wanted.spot,
        "machine": wanted.machine,
        "otherwise": tuple(_placed(wanted, placement, training=training) for placement in wanted.otherwise),
        "processes": wanted.processes or (max(1, wanted.accelerators) if each else 1),
    }


def _placed(wanted: Resources, there: Placement, *, training: bool) -> dict[str, Any]:
    said = {name: value for name in chosen(there) if (value := getattr(there, name)) is not None}
    on = said.pop("on", "")
    needs = {"cpus", "memory", "gpus", "gpu"} & said.keys()
    if on or needs:
        said.setdefault("machine", None)
    if {"gpus", "gpu"} & needs:
        said = {"gpus": 0, "gpu": None, **said}
    return {"on": on, **_resources(wanted.model_copy(update={**said, "otherwise": ()}), training=training), "otherwise": ()}


def _user(step: UserStepSpec, beside: Path) -> Node:
    folders = [beside, beside / "src"]
    config = UserConfig(uses=step.uses, values=step.with_, inputs=step.inputs, code=local_code(step.uses, folders))
    inputs = {parameter: _binding(reference) for parameter, reference in step.inputs.items()}
    return Node(
        name=step.name,
        stage="user",
        config=_plain(config),
        inputs=inputs,
        after=tuple(step.after),
        environment=tuple(step.environment),
        code_path=tuple(str(f.absolute()) for f in folders if f.is_dir()),
        timeout_s=step.timeout,
        **_resources(step.resources),
        **_retry(step.retry),
    )


_DEFAULT_OUTPUT = {"data": "dataset", "train": "model", "optimize": "export", "bundle": "bundle", "evaluate": "evaluation"} | {
    name: name for name in ("embedder", "reference")
}


def _binding(reference: str) -> Binding:
    """`step` or `step.output`; a user step's default output is its returned value."""
    step, _, output = reference.partition(".")
    return Binding(step, output or _DEFAULT_OUTPUT.get(step, "value"))


def _plain(config: Record) -> dict[str, Any]:
    return config.model_dump(mode="json", by_alias=True, exclude_none=True)


def _ordered(nodes: Sequence[Node]) -> Graph:
    names = {n.name for n in nodes}
    for node in nodes:
        if unknown := sorted(node.needs - names):
            raise BadInput(f"step {node.name!r} needs {unknown[0]!r}, which is not a step of this pipeline ({', '.join(sorted(names))})")
    done: list[Node] = []
    waiting = list(nodes)
    while waiting:
        placed = {n.name for n in done}
        ready = [n for n in waiting if n.needs <= placed]
        if not ready:
            raise BadInput(f"steps wait for each other in a circle: {', '.join(n.name for n in waiting)}")
        done.extend(ready)
        waiting = [n for n in waiting if n not in ready]
    return tuple(done)
