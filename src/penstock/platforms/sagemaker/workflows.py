"""State machines of Step Functions: a step's training job as its task, the machine of a pipeline made, changed, started and taken away.

A machine is changed in place, since taking it away would end what runs. Executions that start within seconds of a change may still
follow the old definition, so a change is published as a version and that version is what is started.
Sources: the service's API reference (UpdateStateMachine, StartExecution) and "State machine versions".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.core.errors import PlatformLacks
from penstock.platforms.contract import JobSpec
from penstock.platforms.remote.driver import Order
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.capabilities import machine_for
from penstock.platforms.sagemaker.driver import TrainingJobs
from penstock.platforms.sagemaker.naming import endpoint_name
from penstock.platforms.sagemaker.settings import Settings, settings_of, store_mark, tags
from penstock.platforms.sagemaker.standing import PREFIX, no_machine, running
from penstock.platforms.sagemaker.starts import follow, withdraw
from penstock.platforms.sagemaker.storing import output_of
from penstock.platforms.workflows import Applied, Start

OWN: Mapping[str, Any] = {"publish": True, "loggingConfiguration": {"level": "OFF"}}
_VERSIONS_KEPT = 20  # of a machine; a thousand is the quota


class StepFunctions:
    def request(self, job: JobSpec, uri: str, settings: Mapping[str, Any], store: str) -> dict[str, Any]:
        told = settings_of(settings)
        order = Order(
            f"{PREFIX}step",
            ("penstock", "exec", uri, "--given"),
            told.environment,
            machine_for(job),
            job.nodes,
            job.spot,
            job.timeout_s,
            {"penstock-step": job.step},
        )
        return TrainingJobs(Aws(told), store, output_of(told, store)).request(order)

    def apply(
        self, pipeline: str, definition: Mapping[str, Any], starts: Sequence[Start], settings: Mapping[str, Any], store: str
    ) -> Applied:
        told = settings_of(settings)
        aws, role = Aws(told), _role(told)
        name, text = machine_name(pipeline, store), json.dumps(definition)
        arn, did = _arn(told, name), []
        there = aws.call("stepfunctions:DescribeStateMachine", no_machine, stateMachineArn=arn)
        version: str | None = None
        if there is None:
            marks = [{"key": row["Key"], "value": row["Value"]} for row in marks_of(told, pipeline, store)]
            asked: dict[str, Any] = {"name": name, "definition": text, "roleArn": role, "type": "STANDARD", "tags": marks, **OWN}
            made = aws.call("stepfunctions:CreateStateMachine", _exists, **asked)
            version = made.get("stateMachineVersionArn", arn) if made is not None else None
            did += [f"state machine {name} made"] if made is not None else []
        elif json.loads(there["definition"]) == json.loads(text) and there["roleArn"] == role:
            version = next(iter(_versions(aws, arn)), arn)
        if version is None:  # there, and other: also where somebody made it a moment ago
            answer = aws.call("stepfunctions:UpdateStateMachine", stateMachineArn=arn, definition=text, roleArn=role, **OWN) or {}
            did.append(f"state machine {name} changed")
            version = str(answer.get("stateMachineVersionArn", arn))
            _forget_versions(aws, arn)
        return Applied(arn, version, (*did, *follow(aws, name, arn, starts, marks_of(told, pipeline, store), store)))

    def start(self, applied: Applied, name: str, settings: Mapping[str, Any]) -> str:
        Aws(settings_of(settings)).call("stepfunctions:StartExecution", _started, stateMachineArn=applied.version, name=name, input="{}")
        return f"{applied.machine.replace(':stateMachine:', ':execution:')}:{name}"

    def remove(self, pipeline: str, settings: Mapping[str, Any], store: str) -> Sequence[str]:
        """Starts first, so that nothing begins anew; then what runs, since a machine that goes leaves its jobs running."""
        told = settings_of(settings)
        aws, name = Aws(told), machine_name(pipeline, store)
        arn, went = _arn(told, name), list(withdraw(aws, name, store))
        if aws.call("stepfunctions:DescribeStateMachine", no_machine, stateMachineArn=arn) is None:
            return went
        for row in list(running(aws, arn)):
            aws.call("stepfunctions:StopExecution", _no_execution, executionArn=row["executionArn"], cause="penstock export stepfunctions")
            went.append(f"execution {row['name']} stopped")
        aws.call("stepfunctions:DeleteStateMachine", stateMachineArn=arn)
        return [*went, f"state machine {name} removed"]


def machine_name(pipeline: str, store: str) -> str:
    """Two projects of one account may each have a pipeline of that name."""
    return endpoint_name(pipeline, store)


def marks_of(settings: Settings, pipeline: str, store: str) -> list[dict[str, str]]:
    return tags(settings.tags, {"penstock-pipeline": pipeline, "penstock-store": store_mark(store)})


def _versions(aws: Aws, arn: str) -> list[str]:
    """Their ARNs, newest first."""
    rows = aws.call("stepfunctions:ListStateMachineVersions", no_machine, stateMachineArn=arn, maxResults=1000) or {}
    return [row["stateMachineVersionArn"] for row in rows.get("stateMachineVersions", ())]


def _forget_versions(aws: Aws, arn: str) -> None:
    for version in _versions(aws, arn)[_VERSIONS_KEPT:]:
        aws.call("stepfunctions:DeleteStateMachineVersion", _in_use, stateMachineVersionArn=version)


def _role(settings: Settings) -> str:
    if not settings.workflow_role:
        raise PlatformLacks(
            "the platform's section names no `workflow_role`, which state machines and what starts them run as",
            remedy="Add `workflow_role: arn:aws:iam::…:role/…`; docs/how-to/run-on-sagemaker.md lists what it may do.",
        )
    return settings.workflow_role


def _arn(settings: Settings, name: str) -> str:
    _, partition, _, _, account, _ = _role(settings).split(":", 5)
    return f"arn:{partition}:states:{settings.region}:{account}:stateMachine:{name}"


def _exists(code: str, message: str) -> bool:  # noqa: ARG001
    return code == "StateMachineAlreadyExists"


def _started(code: str, message: str) -> bool:  # noqa: ARG001
    """The answer to an earlier call was lost, and the execution is over."""
    return code == "ExecutionAlreadyExists"


def _no_execution(code: str, message: str) -> bool:  # noqa: ARG001
    return code == "ExecutionDoesNotExist"


def _in_use(code: str, message: str) -> bool:  # noqa: ARG001
    return code == "ConflictException"


STEP_FUNCTIONS = StepFunctions()
