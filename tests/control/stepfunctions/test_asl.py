"""A graph as a state machine: pure, and held to moto's grammar (LocalStack's) and the rules that the emulator adds to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.control.exporting.tasks import Task, task_names
from penstock.control.exporting.values import parameter
from penstock.control.graph import Binding, Node
from penstock.control.stepfunctions.asl import RequestTask, job_names, state_machine
from penstock.control.stepfunctions.order import Parallel, arranged
from penstock.control.stepfunctions.starts import aws_cron
from penstock.core.errors import PlatformLacks
from penstock.platforms.contract import JobSpec
from penstock.platforms.workflows import state_machines_of
from penstock.testing.emulators.sagemaker.account import IMAGE, REGION, ROLE
from penstock.testing.emulators.sagemaker.asl_rules import complaints
from penstock.testing.emulators.sagemaker.schedules import check_expression

STORE = "s3://bucket/a/store"
SECTION = {"kind": "sagemaker", "region": REGION, "role": ROLE, "image": IMAGE, "workflow_role": ROLE}


def node(name: str, *needs: str, **more: Any) -> Node:
    config = {"uses": "work:f", "values": {"size": 3}, "inputs": {}, "code": {}, "environment": []}
    return Node(name, "user", config, {f"from_{at}": Binding(step, "value") for at, step in enumerate(needs)}, **more)


def tasks_of(nodes: Sequence[Node]) -> list[RequestTask]:
    names, system = task_names([one.name for one in nodes]), state_machines_of("aws", "sagemaker")
    uri = f"{STORE}#jobs/templates/{'a' * 64}.json"

    def request(one: Node) -> dict[str, Any]:
        return system.request(JobSpec("sha256:0", "", one.name, "user", {}, spot=one.spot, nodes=one.nodes), uri, SECTION, STORE)

    return [Task(one, names[one.name], uri, request(one), ("value",), ()) for one in nodes]


def order(parts: Sequence[RequestTask | Parallel[RequestTask]], before: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Each task with those that are surely done when it begins."""
    for part in parts:
        if isinstance(part, Parallel):
            made = [list(order(branch, before)) for branch in part.branches]
            yield from (row for branch in made for row in branch)
            before = before | {name for branch in made for name, _ in branch}
        else:
            yield part.node.name, before
            before = before | {part.node.name}


graphs = st.integers(1, 9).flatmap(
    lambda size: st.tuples(*(st.sets(st.integers(0, at - 1)) if at else st.just(set()) for at in range(size)))
)


@settings(max_examples=60, deadline=None)
@given(graphs)
def test_every_step_comes_once_and_after_what_it_needs(graph: Sequence[set[int]]) -> None:
    tasks = tasks_of([node(f"s{at}", *(f"s{other}" for other in sorted(needs))) for at, needs in enumerate(graph)])
    done = list(order(arranged(tasks, lambda task: task.node.needs), frozenset()))
    assert sorted(name for name, _ in done) == sorted(task.node.name for task in tasks)
    assert all(f"s{other}" in before for name, before in done for other in graph[int(name[1:])])
    made = state_machine("p", tasks, [], STORE)
    assert list(complaints(made)) == []


def test_the_grammar_of_others_takes_it() -> None:
    parser = pytest.importorskip("moto.stepfunctions.parser.asl.parse.asl_parser").AmazonStateLanguageParser
    nodes = [node("a.b", attempts=1), node("c", "a.b", spot=True), node("d", "a.b", nodes=2), node("e", "c", "d", backoff_s=7200.0)]
    size = parameter("steps.c.with.size", nodes)
    tasks = tasks_of(nodes)
    tasks[1] = Task(tasks[1].node, tasks[1].name, tasks[1].uri, tasks[1].container, ("value",), (size,))
    made = state_machine("p", tasks, [size], STORE)
    parser.parse(json.dumps(made))
    assert list(complaints(made)) == []
    states = made["States"]
    branches = states["at once 1"]["Branches"]
    assert [branch["StartAt"] for branch in branches] == ["c", "d"]
    asked = branches[0]["States"]["c"]["Parameters"]
    assert asked["Environment"]["PENSTOCK_GIVEN_INPUT_0.$"] == "States.Format('from_0={}', $.steps.a_b.told.outputs.value)"
    assert asked["Environment"]["PENSTOCK_GIVEN_SET_0.$"] == "States.Format('steps.c.with.size={}', $.penstock.given.steps_c_with_size)"
    assert (asked["EnableManagedSpotTraining"], asked["AlgorithmSpecification"]["TrainingImage"]) == (True, IMAGE)
    assert branches[1]["States"]["d"]["Parameters"]["ResourceConfig"]["InstanceCount"] == 2
    assert states["a-b outputs"]["Parameters"]["Key.$"] == "States.Format('a/store/notes/jobs/workflows/{}/a-b.json', $.penstock.run)"
    assert [row["ErrorEquals"] for row in states["a-b"]["Retry"]][-1] == ["SageMaker.ResourceLimitExceededException"]
    assert [row["MaxAttempts"] for row in states["e"]["Retry"]][-1] == 2


def test_many_inputs_stay_within_what_a_field_may_hold() -> None:
    nodes = [*(node(f"s{at}") for at in range(30)), node("all", *(f"s{at}" for at in range(30)))]
    assert list(complaints(state_machine("p", tasks_of(nodes), [], STORE))) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda states: states["a"].update(Next="none"), "is no state"),
        (lambda states: states["a"]["Parameters"].update(Nonsense=1), "Member is not known"),
        (lambda states: states["a"]["Parameters"].update({"X.$": "a"}), "neither a path"),
        (lambda states: states["a"]["Parameters"].update({"RoleArn.$": "States.Format(" * 11}), "more than 10"),
        (lambda states: states.update({"z": {"Type": "Succeed"}}), "not reachable"),
        (lambda states: states["a outputs"].update(Next="a"), "exactly one of"),
        (lambda states: states["a"]["Retry"][0].update(MaxDelaySeconds=5), "greater than IntervalSeconds"),
    ],
)
def test_the_rules_can_fail(change: Any, why: str) -> None:
    made = state_machine("p", tasks_of([node("a")]), [], STORE)
    change(made["States"])
    assert re.search(why, "; ".join(complaints(made)))


def test_names_of_jobs_are_short_and_their_own() -> None:
    names = job_names(["evaluate", "evaluate-champion-of-today", "evaluate-champion-of-yesterday", "x" * 17])
    assert len(set(names.values())) == 4
    assert all(re.fullmatch(r"[a-z0-9](-*[a-z0-9]){0,62}", f"penstock-{name}-{'0' * 32}-10") for name in names.values())


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("0 6 * * *", "cron(0 6 * * ? *)"),
        ("*/15 8-18 * * 1-5", "cron(0,15,30,45 8-18 ? * MON,TUE,WED,THU,FRI *)"),
        ("0 0 * * 7", "cron(0 0 ? * SUN *)"),
        ("5 4 1,15 */3 *", "cron(5 4 1,15 1,4,7,10 ? *)"),
    ],
)
def test_cron_lines_as_aws_has_them(line: str, there: str) -> None:
    assert aws_cron(line, "triggers[0]") == there
    check_expression(there, "Europe/Berlin")


@pytest.mark.parametrize("line", ["0 0 L * *", "0 0 1 * 1", "0 0 * * 5#2"])
def test_cron_lines_that_aws_has_not(line: str) -> None:
    with pytest.raises(PlatformLacks, match=r"triggers\[0\]"):
        aws_cron(line, "triggers[0]")
