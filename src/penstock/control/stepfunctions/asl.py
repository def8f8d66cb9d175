"""A graph of steps as a state machine in the Amazon States Language (JSONPath). Pure.

A step is two states: a training job that is waited for, and a read of the note that it left in the artifact store, which names its key and
the digests of its outputs. Those stand in the state's data at `$.steps.<task>` and are given to later jobs as environment variables:
a field may hold ten intrinsic functions at most, so arguments that are put together from digests would be too long for a step with many
inputs. Values stand three names deep (`$.penstock.run`), since interpreters differ in what `$[0].run` is after a Parallel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from penstock.control.exporting.given import INPUT, NOTE, RUN, SET, note_of
from penstock.control.exporting.tasks import Task
from penstock.control.exporting.values import Parameter
from penstock.control.stepfunctions.order import Parallel, arranged
from penstock.core.digests import digest_json, hex_of

RequestTask = Task[Mapping[str, Any]]  # its container: what CreateTrainingJob is called with
LONGEST_PAUSE_S = 3600
_JOB_NAME = 17  # characters of the task's name in a job's: 63 less "penstock-", 32 of the run's digest, the try
# Refusals of the call itself: throttling and 5xx, which Step Functions names by the class of its SDK's error; then a quota that is used up.
_CALL: Sequence[Mapping[str, Any]] = (
    {
        "ErrorEquals": ["SageMaker.AmazonSageMakerException", "ThrottlingException"],
        "IntervalSeconds": 5,
        "MaxAttempts": 6,
        "BackoffRate": 2.0,
        "MaxDelaySeconds": 120,
        "JitterStrategy": "FULL",
    },
    {
        "ErrorEquals": ["SageMaker.ResourceLimitExceededException"],
        "IntervalSeconds": 60,
        "MaxAttempts": 10,
        "BackoffRate": 1.5,
        "MaxDelaySeconds": 900,
    },
)
_READ: Mapping[str, Any] = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "MaxAttempts": 5, "BackoffRate": 2.0}


@dataclass(frozen=True, slots=True)
class Chain:
    """States in order, as ASL has them, and the tasks whose outputs stand in the data at their end."""

    start: str
    states: dict[str, Any]
    tasks: tuple[RequestTask, ...]


def state_machine(name: str, tasks: Sequence[RequestTask], parameters: Sequence[Parameter], store: str) -> dict[str, Any]:
    """`store`: URL of the artifact store in S3."""
    writer = _Writer({task.node.name: task for task in tasks}, store)
    rest = writer.chain(arranged(tasks, _needs), ())
    return {
        "Comment": f"The steps of pipeline {name}, by `penstock export stepfunctions`",
        "StartAt": "begin",
        "States": {**_begin(parameters, rest.start), **rest.states},
    }


def variable(task: RequestTask) -> str:
    """Its name below `$.steps`."""
    return task.name.replace("-", "_")


def _needs(task: RequestTask) -> set[str]:
    return task.node.needs


def _begin(parameters: Sequence[Parameter], following: str) -> dict[str, Any]:
    """Names the run by what is true of this execution alone, even where the name of an old one is used again; takes its values."""
    run = "States.Hash(States.Format('{} {}', $$.Execution.Id, $$.State.EnteredTime), 'MD5')"
    if not parameters:
        return {"begin": {"Type": "Pass", "Parameters": {"penstock": {"run.$": run}, "steps": {}}, "Next": following}}
    defaults = {one.name: _text(one.default) for one in parameters}
    told = {"run.$": run, "defaults": defaults, "input.$": "$"}
    given = {"run.$": "$.penstock.run", "given.$": "States.JsonMerge($.penstock.defaults, $.penstock.input, false)"}
    return {
        "begin": {"Type": "Pass", "Parameters": {"penstock": told, "steps": {}}, "Next": "values"},
        "values": {"Type": "Pass", "Parameters": {"penstock": given, "steps.$": "$.steps"}, "Next": following},
    }


def _text(value: bool | float | str) -> str:
    """As `--set` reads it. Numbers are handed on as text, so that no interpreter writes them otherwise."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Writer:
    """Writes states, whose names are unique in the whole machine."""

    def __init__(self, tasks: Mapping[str, RequestTask], store: str) -> None:
        self._tasks = tasks
        split = urlsplit(store)
        self._bucket, self._prefix = split.netloc, split.path.strip("/")
        self._parallels = 0
        self._names = job_names([task.name for task in tasks.values()])

    def chain(self, parts: Sequence[RequestTask | Parallel[RequestTask]], before: tuple[RequestTask, ...]) -> Chain:
        """`before`: whose outputs are in the data already."""
        states: dict[str, Any] = {}
        entries: list[tuple[str, dict[str, Any]]] = []
        known = before
        for part in parts:
            if isinstance(part, Parallel):
                name, state, made = self._parallel(part, known)
                entries.append((name, state))
                states[name] = state
                known = (*known, *made)
            else:
                first, added = self._step(part)
                entries.append((first, added[f"{part.name} outputs"]))
                states |= added
                known = (*known, part)
        for (_, last), following in zip(entries, [*entries[1:], None], strict=True):
            last |= {"Next": following[0]} if following else {"End": True}
        return Chain(entries[0][0], states, known)

    def _parallel(
        self, part: Parallel[RequestTask], before: tuple[RequestTask, ...]
    ) -> tuple[str, dict[str, Any], tuple[RequestTask, ...]]:
        self._parallels += 1
        name = f"at once {self._parallels}"
        chains = [self.chain(branch, before) for branch in part.branches]
        steps = {f"{variable(task)}.$": f"$[0].steps.{variable(task)}" for task in before}
        made: tuple[RequestTask, ...] = ()
        for at, chain in enumerate(chains):
            own = chain.tasks[len(before) :]
            steps |= {f"{variable(task)}.$": f"$[{at}].steps.{variable(task)}" for task in own}
            made = (*made, *own)
        kept = {"run.$": "$[0].penstock.run", **({"given.$": "$[0].penstock.given"} if self._parameters else {})}
        state = {
            "Type": "Parallel",
            "Branches": [{"StartAt": chain.start, "States": chain.states} for chain in chains],
            "ResultSelector": {"penstock": kept, "steps": steps},
        }
        return name, state, made

    @property
    def _parameters(self) -> bool:
        return any(task.parameters for task in self._tasks.values())

    def _step(self, task: RequestTask) -> tuple[str, dict[str, Any]]:
        """The name of its first state, and all of them; the state `<task> outputs` is the last one and wants its `Next`."""
        failed = {"ErrorEquals": ["States.ALL"], "ResultPath": "$.failed", "Next": f"{task.name} failed"}
        read, key = f"{task.name} outputs", note_of("{}", task.name)
        path = f"{_escaped(self._prefix)}/notes/{key}".lstrip("/")
        run = {
            "Type": "Task",
            "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
            "Parameters": self._request(task, note=key),
            "Retry": [*(dict(row) for row in _CALL), *_again(task)],
            "Catch": [failed],
            "ResultPath": None,
            "Next": read,
        }
        outputs: dict[str, Any] = {
            "Type": "Task",
            "Resource": "arn:aws:states:::aws-sdk:s3:getObject",
            "Parameters": {"Bucket": self._bucket, "Key.$": f"States.Format('{path}', $.penstock.run)"},
            "ResultSelector": {"told.$": "States.StringToJson($.Body)"},
            "ResultPath": f"$.steps.{variable(task)}",
            "Retry": [dict(_READ)],
            "Catch": [failed],
        }
        end = {"Type": "Fail", "Error": f"step {task.node.name} failed", "CausePath": "$.failed.Cause"}
        return task.name, {task.name: run, read: outputs, f"{task.name} failed": end}

    def _request(self, task: RequestTask, note: str) -> dict[str, Any]:
        request = {key: value for key, value in task.container.items() if key not in ("TrainingJobName", "Environment", "Tags")}
        algorithm = {**request["AlgorithmSpecification"], "ContainerArguments": ["exec", task.uri, "--given"]}
        environment: dict[str, str] = dict(task.container.get("Environment", {}))
        environment |= {f"{RUN}.$": "$.penstock.run", f"{NOTE}.$": f"States.Format('{note}', $.penstock.run)"}
        for at, (name, (step, output)) in enumerate(task.bound.items()):
            path = f"$.steps.{variable(self._tasks[step])}.told.outputs.{output}"
            environment[f"{INPUT}{at}.$"] = f"States.Format('{_escaped(name)}={{}}', {path})"
        for at, one in enumerate(task.parameters):
            environment[f"{SET}{at}.$"] = f"States.Format('{_escaped(one.path)}={{}}', $.penstock.given.{one.name})"
        job = f"States.Format('penstock-{self._names[task.name]}-{{}}-{{}}', $.penstock.run, $$.State.RetryCount)"
        marks = [*task.container["Tags"], {"Key": "penstock-run", "Value.$": "$.penstock.run"}]
        return {"TrainingJobName.$": job, **request, "AlgorithmSpecification": algorithm, "Environment": environment, "Tags": marks}


def job_names(tasks: Sequence[str]) -> dict[str, str]:
    """What of a task's name stands in the name of its jobs: short enough, and no two the same."""
    short = {task: task[:_JOB_NAME].rstrip("-") for task in tasks}
    twice = {name for name, count in Counter(short.values()).items() if count > 1}
    return {task: f"{task[:12].rstrip('-')}-{hex_of(digest_json(task))[:4]}" if name in twice else name for task, name in short.items()}


def _again(task: RequestTask) -> list[dict[str, Any]]:
    """A job that failed. One whose step failed for good says so again at once (exporting/templates)."""
    node = task.node
    if node.attempts < 2:
        return []
    first = max(1, round(node.backoff_s))
    pause = {"IntervalSeconds": first, "BackoffRate": 2.0, "MaxDelaySeconds": max(LONGEST_PAUSE_S, first + 1)}
    return [{"ErrorEquals": ["States.TaskFailed"], "MaxAttempts": node.attempts - 1, **pause, "JitterStrategy": "FULL"}]


def _escaped(text: str) -> str:
    """As text in an intrinsic function's quotes."""
    return "".join(f"\\{c}" if c in "'{}\\" else c for c in text)
