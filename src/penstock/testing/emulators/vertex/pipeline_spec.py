"""KFP's PipelineSpec, as far as containers with parameters go: unknown fields, wrong types and references to nothing are refused.

Source: pipeline_spec.proto of Kubeflow Pipelines (schema 2.1.0); limits of resources: "Specify the machine configuration for a pipeline
step" of Vertex AI. Not covered, and refused as unknown: artifacts, iterators, conditions, importers, nested graphs, outputs of the root.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from penstock.testing.emulators.vertex.errors import VertexError, invalid
from penstock.testing.emulators.vertex.messages import v1

Kind = Literal["NUMBER_DOUBLE", "NUMBER_INTEGER", "STRING", "BOOLEAN", "LIST", "STRUCT"]
TYPES: Mapping[str, tuple[type, ...]] = {
    "NUMBER_DOUBLE": (int, float),
    "NUMBER_INTEGER": (int,),
    "STRING": (str,),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}
CPUS, MEMORY_GB = 96, 624
PLACEHOLDER = re.compile(r"\{\{\$\.(inputs|outputs)\.parameters\[(?:'([^']+)'|\"([^\"]+)\")\](\.output_file)?\}\}")
_DURATION = r"^\d+(\.\d{1,9})?s$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True)


class Named(_Strict):
    name: str = Field(min_length=1)


class Info(_Strict):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,127}$")
    display_name: str = ""
    description: str = ""


class InputSpec(_Strict):
    parameter_type: Kind
    default_value: Any = None
    is_optional: bool = False
    description: str = ""


class OutputSpec(_Strict):
    parameter_type: Kind
    description: str = ""


class Inputs(_Strict):
    parameters: dict[str, InputSpec] = Field(default_factory=dict)


class Outputs(_Strict):
    parameters: dict[str, OutputSpec] = Field(default_factory=dict)


class Component(_Strict):
    executor_label: str
    input_definitions: Inputs = Inputs()
    output_definitions: Outputs = Outputs()


class FromTask(_Strict):
    producer_task: str
    output_parameter_key: str


class Constant(_Strict):
    constant: Any


class Source(_Strict):
    """Exactly one of them."""

    task_output_parameter: FromTask | None = None
    runtime_value: Constant | None = None
    component_input_parameter: str | None = None


class TaskInputs(_Strict):
    parameters: dict[str, Source] = Field(default_factory=dict)


class Caching(_Strict):
    enable_cache: bool = False


class Retry(_Strict):
    max_retry_count: int = Field(default=0, ge=0)
    backoff_duration: str = Field(default="0s", pattern=_DURATION)
    backoff_factor: float = 2.0
    backoff_max_duration: str = Field(default="3600s", pattern=_DURATION)

    def pause_s(self, failures: int) -> float:
        longest = float(self.backoff_max_duration[:-1])
        return float(min(longest, float(self.backoff_duration[:-1]) * self.backoff_factor ** (failures - 1)))


class Task(_Strict):
    task_info: Named
    component_ref: Named
    inputs: TaskInputs = TaskInputs()
    dependent_tasks: list[str] = Field(default_factory=list)
    caching_options: Caching = Caching()
    retry_policy: Retry = Retry()


class Graph(_Strict):
    tasks: dict[str, Task] = Field(min_length=1)


class Root(_Strict):
    dag: Graph
    input_definitions: Inputs = Inputs()


class Accelerator(_Strict):
    type: str = ""
    count: int = 0
    resource_type: str = ""
    resource_count: str = ""


class Resources(_Strict):
    cpu_limit: float = Field(default=0, ge=0, le=CPUS)
    memory_limit: float = Field(default=0, ge=0, le=MEMORY_GB)
    resource_cpu_limit: str = Field(default="", pattern=r"^(\d+(\.\d+)?m?)?$")
    resource_memory_limit: str = Field(default="", pattern=r"^(\d+(\.\d+)?[EPTGMK]?i?)?$")
    accelerator: Accelerator | None = None


class Variable(_Strict):
    name: str = Field(min_length=1)
    value: str = ""


class Container(_Strict):
    image: str = Field(min_length=1)
    command: list[str] = Field(default_factory=list)
    args: list[str] = Field(default_factory=list)
    env: list[Variable] = Field(default_factory=list)
    resources: Resources = Resources()


class Executor(_Strict):
    container: Container


class Deployment(_Strict):
    executors: dict[str, Executor]


class Spec(_Strict):
    pipeline_info: Info
    deployment_spec: Deployment
    sdk_version: str = Field(min_length=1)
    schema_version: Literal["2.1.0"]
    components: dict[str, Component]
    root: Root
    default_pipeline_root: str = ""

    def component(self, task: str) -> Component:
        return self.components[self.root.dag.tasks[task].component_ref.name]

    def container(self, task: str) -> Container:
        return self.deployment_spec.executors[self.component(task).executor_label].container


def parsed(value: Any) -> Spec:
    """Raises VertexError (INVALID_ARGUMENT) with all that is wrong."""
    try:
        spec = Spec.model_validate(value)
    except ValidationError as error:
        rows = [(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors(include_url=False)]
        raise invalid([(f"pipeline_job.pipeline_spec.{where}", why) for where, why in rows]) from None
    wrong = [(f"pipeline_job.pipeline_spec.{where}", why) for where, why in _problems(spec)]
    if wrong:
        raise invalid(wrong)
    return spec


def _problems(spec: Spec) -> Iterator[tuple[str, str]]:
    for name, component in spec.components.items():
        if component.executor_label not in spec.deployment_spec.executors:
            yield f"components.{name}", f"There is no executor {component.executor_label}."
    for name, task in spec.root.dag.tasks.items():
        if task.component_ref.name not in spec.components:
            yield f"root.dag.tasks.{name}", f"There is no component {task.component_ref.name}."
            return
    graph = {name: task.dependent_tasks for name, task in spec.root.dag.tasks.items()}
    for name, needs in graph.items():
        yield from ((f"root.dag.tasks.{name}", f"There is no task {need}.") for need in needs if need not in graph)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "root.dag.tasks", f"Tasks wait for each other: {error.args[1]}."
        return
    for name in graph:
        yield from _of_task(spec, name)
        yield from _of_container(spec, name)


def _of_task(spec: Spec, name: str) -> Iterator[tuple[str, str]]:
    task, component, where = spec.root.dag.tasks[name], spec.component(name), f"root.dag.tasks.{name}.inputs"
    wanted = component.input_definitions.parameters
    for one in sorted(set(wanted) ^ set(task.inputs.parameters)):
        if one not in wanted:
            yield where, f"The component has no input {one}."
        elif not wanted[one].is_optional and wanted[one].default_value is None:
            yield where, f"Input {one} is not given."
    for one, source in task.inputs.parameters.items():
        if len(source.model_fields_set) != 1:
            yield where, f"Input {one} must have exactly one source."
        elif one in wanted:
            kind = _kind(spec, task, source)
            if kind != wanted[one].parameter_type:
                yield where, f"Input {one} is {wanted[one].parameter_type}, and is given {kind}."


def _kind(spec: Spec, task: Task, source: Source) -> str:
    """The type of what is given, or why there is none."""
    if source.runtime_value is not None:
        return next((kind for kind in TYPES if has_type(source.runtime_value.constant, kind)), "nothing")
    if source.component_input_parameter is not None:
        known = spec.root.input_definitions.parameters.get(source.component_input_parameter)
        return known.parameter_type if known else f"no input {source.component_input_parameter} of the pipeline"
    assert source.task_output_parameter is not None
    producer, key = source.task_output_parameter.producer_task, source.task_output_parameter.output_parameter_key
    if producer not in task.dependent_tasks:
        return f"what {producer} makes, which is not among its dependentTasks"
    made = spec.component(producer).output_definitions.parameters.get(key)
    return made.parameter_type if made else f"no output {key} of {producer}"


def _of_container(spec: Spec, name: str) -> Iterator[tuple[str, str]]:
    component, container = spec.component(name), spec.container(name)
    where = f"deploymentSpec.executors.{component.executor_label}.container"
    for text in (*container.command, *container.args):
        for side, quoted, double, suffix in PLACEHOLDER.findall(text):
            known: Mapping[str, Any] = component.input_definitions.parameters
            if side == "outputs":
                known = component.output_definitions.parameters
            if (quoted or double) not in known or bool(suffix) != (side == "outputs"):
                yield where, f"{text!r} refers to nothing."
        if "{{$" in PLACEHOLDER.sub("", text):
            yield where, f"{text!r} has a placeholder that is not known."
    accelerator = container.resources.accelerator
    if accelerator is not None:
        kind = accelerator.type or accelerator.resource_type
        if kind not in v1.AcceleratorType.__members__ or not accelerator.count:
            yield where, f"There is no accelerator {kind!r} × {accelerator.count}."


def has_type(value: Any, kind: str) -> bool:
    """Struct has floats only, so a whole one is an integer too."""
    if kind == "NUMBER_INTEGER" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[kind]) and (kind == "BOOLEAN" or not isinstance(value, bool))


def refused(message: str) -> VertexError:
    return invalid([("pipeline_job.runtime_config", message)])
