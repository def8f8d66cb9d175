"""A graph of steps as KFP's PipelineSpec (schema 2.1.0), the form that its compiler writes. Pure.

A step hands on the digests of its outputs as parameters: artifacts stay in Penstock's store. KFP's own caching is off, because it asks
about parameters alone and not whether the artifacts are still there; a step whose key is in the store is over at once anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import penstock
from penstock.control.exporting.tasks import Task, once_each, plain
from penstock.control.exporting.values import Parameter
from penstock.platforms.workflows import Container

ContainerTask = Task[Container]

RUN, KEY = "penstock_run", "penstock_key"
JOB = "{{$.pipeline_job_uuid}}"  # KFP's word for "this run", which it replaces in the values that a task is given
LONGEST_PAUSE_S = 3600.0
_KINDS = {bool: "BOOLEAN", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", str: "STRING"}  # KFP's names of types


def pipeline_spec(name: str, tasks: Sequence[ContainerTask], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """As JSON values. Raises BadInput when two values of a step would go by one name."""
    by_step = {task.node.name: task.name for task in tasks}
    root: dict[str, Any] = {"dag": {"tasks": {task.name: _task(task, by_step) for task in tasks}}}
    if parameters:
        root["inputDefinitions"] = {"parameters": {one.name: _definition(one) for one in parameters}}
    return {
        "pipelineInfo": {"name": plain(name)},
        "schemaVersion": "2.1.0",
        "sdkVersion": f"penstock-{penstock.__version__}",
        "root": root,
        "components": {f"comp-{task.name}": _component(task) for task in tasks},
        "deploymentSpec": {"executors": {f"exec-{task.name}": {"container": _container(task)} for task in tasks}},
    }


def _definition(one: Parameter) -> dict[str, Any]:
    return {
        "parameterType": _KINDS[type(one.default)],
        "defaultValue": one.default,
        "isOptional": True,
        "description": f"{one.path} of the pipeline file",
    }


def _task(task: ContainerTask, names: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {RUN: {"runtimeValue": {"constant": JOB}}}
    for name, (step, output) in task.bound.items():
        given[name] = {"taskOutputParameter": {"producerTask": names[step], "outputParameterKey": output}}
    given |= {one.name: {"componentInputParameter": one.name} for one in task.parameters}
    found: dict[str, Any] = {
        "taskInfo": {"name": task.name},
        "componentRef": {"name": f"comp-{task.name}"},
        "cachingOptions": {"enableCache": False},
        "inputs": {"parameters": given},
    }
    if task.node.needs:
        found["dependentTasks"] = sorted(names[step] for step in task.node.needs)
    if task.node.attempts > 1:
        found["retryPolicy"] = {
            "maxRetryCount": task.node.attempts - 1,
            "backoffDuration": _duration(task.node.backoff_s),
            "backoffFactor": 2.0,
            "backoffMaxDuration": _duration(LONGEST_PAUSE_S),
        }
    return found


def _component(task: ContainerTask) -> dict[str, Any]:
    inputs = [RUN, *task.bound, *(one.name for one in task.parameters)]
    outputs = [KEY, *task.outputs]
    for names in (inputs, outputs):
        once_each(names, task.node.name)
    kinds = {one.name: _KINDS[type(one.default)] for one in task.parameters}
    return {
        "executorLabel": f"exec-{task.name}",
        "inputDefinitions": {"parameters": {name: {"parameterType": kinds.get(name, "STRING")} for name in inputs}},
        "outputDefinitions": {"parameters": {name: {"parameterType": "STRING"} for name in outputs}},
    }


def _container(task: ContainerTask) -> dict[str, Any]:
    has = task.container
    args = ["exec", task.uri, "--remote", _input(RUN)]
    args += [part for name in task.bound for part in ("--input", f"{name}={_input(name)}")]
    args += [part for one in task.parameters for part in ("--set", f"{one.path}={_input(one.name)}")]
    args += [part for name in task.outputs for part in ("--output", f"{name}={_output(name)}")]
    found: dict[str, Any] = {"image": has.image, "command": ["penstock"], "args": [*args, "--key", _output(KEY)]}
    if has.environment:
        found["env"] = [{"name": name, "value": value} for name, value in sorted(has.environment.items())]
    return {**found, "resources": _resources(has)}


def _resources(has: Container) -> dict[str, Any]:
    """Each in both spellings that the schema has: numbers for systems before KFP 2.13, text for those after."""
    found: dict[str, Any] = {
        "cpuLimit": float(has.cpus),
        "memoryLimit": float(has.memory_gb),
        "resourceCpuLimit": f"{has.cpus:g}",
        "resourceMemoryLimit": f"{has.memory_gb:g}G",
    }
    if has.accelerator is not None:
        count = str(has.accelerators)
        found["accelerator"] = {"type": has.accelerator, "count": count, "resourceType": has.accelerator, "resourceCount": count}
    return found


def _input(name: str) -> str:
    return f"{{{{$.inputs.parameters['{name}']}}}}"


def _output(name: str) -> str:
    return f"{{{{$.outputs.parameters['{name}'].output_file}}}}"


def _duration(seconds: float) -> str:
    """As protobuf's JSON has it."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
