"""A graph as KFP's PipelineSpec, and the values that it may be started with. Pure: nothing is sent or run."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.control.exporting.tasks import Task, task_names
from penstock.control.exporting.values import changed, parameter
from penstock.control.graph import Binding, Node
from penstock.control.kfp.ir import pipeline_spec
from penstock.core.errors import BadInput
from penstock.core.yaml_text import as_yaml
from penstock.platforms.workflows import Container
from penstock.spec.pipeline import Pipeline, Train
from penstock.spec.steps import TrainConfig

PLAIN = Container("image:1", {"B": "2", "A": "yes"}, 4, 15)


def user(name: str, inputs: dict[str, Binding] | None = None, values: dict[str, Any] | None = None, **more: Any) -> Node:
    config = {"uses": "work:f", "values": values or {}, "inputs": {}, "code": {}, "environment": []}
    return Node(name, "user", config, inputs or {}, **more)


def test_what_a_step_becomes() -> None:
    first = user("first.one", values={"size": 3}, attempts=1)
    second = user("second", {"rows": Binding("first.one", "value"), "old": Binding(digest="sha256:1")}, attempts=3, backoff_s=0.5)
    third = user("third", after=("second",))
    size = parameter("steps.first.one.with.size", (first, second, third))
    gpu = Container("image:1", {}, 8, 30, "NVIDIA_TESLA_T4", 2)
    tasks = [
        Task(first, "first-one", "gs://b/s#jobs/templates/1.json", PLAIN, ("value",), (size,)),
        Task(second, "second", "gs://b/s#jobs/templates/2.json", gpu, (), ()),
        Task(third, "third", "gs://b/s#jobs/templates/3.json", PLAIN, (), ()),
    ]
    made = pipeline_spec("my.name", tasks, [size])
    assert made["root"]["inputDefinitions"]["parameters"]["steps_first_one_with_size"]["defaultValue"] == 3
    graph = made["root"]["dag"]["tasks"]
    assert {name: task.get("dependentTasks") for name, task in graph.items()} == {
        "first-one": None,
        "second": ["first-one"],
        "third": ["second"],
    }
    assert graph["second"]["inputs"]["parameters"]["rows"] == {
        "taskOutputParameter": {"producerTask": "first-one", "outputParameterKey": "value"}
    }
    assert "old" not in graph["second"]["inputs"]["parameters"]
    assert "retryPolicy" not in graph["first-one"]
    assert graph["second"]["retryPolicy"] == {
        "maxRetryCount": 2,
        "backoffDuration": "0.5s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "3600s",
    }
    assert all(task["cachingOptions"] == {"enableCache": False} for task in graph.values())
    containers = {name: one["container"] for name, one in made["deploymentSpec"]["executors"].items()}
    assert containers["exec-first-one"]["args"] == [
        *("exec", "gs://b/s#jobs/templates/1.json", "--remote", "{{$.inputs.parameters['penstock_run']}}"),
        *("--set", "steps.first.one.with.size={{$.inputs.parameters['steps_first_one_with_size']}}"),
        *("--output", "value={{$.outputs.parameters['value'].output_file}}"),
        *("--key", "{{$.outputs.parameters['penstock_key'].output_file}}"),
    ]
    assert containers["exec-third"]["env"] == [{"name": "A", "value": "yes"}, {"name": "B", "value": "2"}]
    assert containers["exec-second"]["resources"]["accelerator"]["type"] == "NVIDIA_TESLA_T4"
    assert containers["exec-third"]["resources"]["resourceMemoryLimit"] == "15G"
    assert made["pipelineInfo"]["name"] == "my-name"
    assert yaml.safe_load(as_yaml(made)) == made


def test_two_values_of_one_name_are_refused() -> None:
    node = user("one", {"penstock_run": Binding("zero", "value")})
    with pytest.raises(BadInput, match="penstock_run"):
        pipeline_spec("p", [Task(user("zero"), "zero", "u", PLAIN, ("value",), ()), Task(node, "one", "u", PLAIN, (), ())], [])


def test_tasks_have_names_of_their_own() -> None:
    assert task_names(["a.b", "a-b", "a_b", "c"]) == {"a.b": "a-b", "a-b": "a-b-2", "a_b": "a-b-3", "c": "c"}


def test_a_changed_value_is_what_the_file_would_have_given() -> None:
    def node(**section: Any) -> Node:
        config = TrainConfig(task="text-classification", base_digest="sha256:1", train=Train.model_validate(section))
        dumped = config.model_dump(mode="json", by_alias=True, exclude_none=True)
        return Node("train", "train", dumped, aside={"train": {"checkpoint_every": 1}})

    before = node(method={"lora": {"rank": 8}}, steps=2, learning_rate=1e-3)
    after = changed(before, {"train.steps": "5", "train.learning_rate": "0.0002", "train.method.lora.rank": "4"})
    assert after.config == node(method={"lora": {"rank": 4}}, steps=5, learning_rate=2e-4).config
    assert before.config["train"]["steps"] == 2
    for wrong in ("train.checkpoint_every", "train.nothing", "data.split", "train.method"):
        with pytest.raises(BadInput):
            parameter(wrong, (before,))
    with pytest.raises(BadInput, match="a whole number"):
        changed(before, {"train.steps": "many"})


def test_the_sections_exist() -> None:
    """What the paths of parameters begin with are keys of the file."""
    assert {"train", "steps"} <= set(Pipeline.model_fields)


TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["yes", "NO", "on", "1e5", "12:30", "0o7", "2026-01-01", "~", "-", "=", "<<", "0x1f", "\x85", "a\u2028b"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_text_that_both_kinds_of_readers_understand(value: dict[str, Any]) -> None:
    from ruamel.yaml import YAML

    text = as_yaml(value)
    assert yaml.safe_load(text) == value
    assert YAML(typ="safe", pure=True).load(text) == value
