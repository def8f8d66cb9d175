"""Moto's interpreter of the Amazon States Language, taught the one task that it lacks: `sagemaker:createTrainingJob.sync` on this account.

Moto's grammar and its evaluation of paths, intrinsic functions, retries, catches and Parallel are LocalStack's, written against AWS; what
is added here calls the emulated SageMaker as a client does, waits for the end, and stops the job where the execution is stopped.
Pauses before a retry are written down and cut to HURRY_S.
Source of errors' names: "Create and manage Amazon SageMaker AI jobs with Step Functions"; machines of others, for AmazonSageMakerException.
"""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from moto.stepfunctions.parser.api import HistoryEventType, TaskFailedEventDetails
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import CustomErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent, FailureEventException
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_task import state_task_factory
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.resource import ResourceCondition
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_aws_sdk import StateTaskServiceAwsSdk
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import StateTaskServiceCallback
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails

from penstock.testing.emulators.sagemaker.account import MACHINES, Account

HURRY_S, POLL_S = 0.05, 0.25
PAUSES: list[float] = []  # before retries, in seconds, as they would have been
FAILED = "States.TaskFailed"
_NAMES = {"ResourceLimitExceeded": "ResourceLimitExceededException", "ResourceInUse": "ResourceInUseException"}
_ordinary = state_task_factory.state_task_service_for


def install() -> None:
    """For the whole process: moto keeps one of everything."""
    from moto.core.config import default_user_config

    default_user_config["stepfunctions"]["execute_state_machine"] = True
    state_task_factory.state_task_service_for = _service
    retrier_decl.time = SimpleNamespace(sleep=_hurried)


def _hurried(seconds: float) -> None:
    PAUSES.append(seconds)
    time.sleep(min(seconds, HURRY_S))


def _service(service_name: str) -> Any:
    if service_name == "sagemaker":
        return TrainingJobTask()
    return AwsTask() if service_name == "aws-sdk" else _ordinary(service_name)


def _account(env: Any) -> Account:
    return MACHINES[env.states.context_object.context_object_data["StateMachine"]["Id"]]


class AwsTask(StateTaskServiceAwsSdk):  # type: ignore[misc]
    """Calls the services beside SageMaker that this account has."""

    def _eval_service_task(self, env: Any, resource_runtime_part: Any, normalised_parameters: Any, state_credentials: Any) -> None:  # noqa: ARG002
        client = _account(env).client(self._get_boto_service_name())
        answer = getattr(client, self._get_boto_service_action())(**normalised_parameters)
        answer.pop("ResponseMetadata", None)
        for name, value in answer.items():
            answer[name] = self._from_boto_response_value(value)
        env.stack.append(json.loads(json.dumps(answer, default=str)))


class TrainingJobTask(StateTaskServiceCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(supported_integration_patterns={ResourceCondition.Sync, ResourceCondition.WaitForTaskToken})

    def _validate_service_integration_is_supported(self) -> None:
        if self.resource.api_action != "createTrainingJob" or self.resource.condition != ResourceCondition.Sync:
            raise ValueError(f"{self.resource.resource_arn} is not emulated")

    def _eval_service_task(self, env: Any, resource_runtime_part: Any, normalised_parameters: Any, state_credentials: Any) -> None:  # noqa: ARG002
        answer = _account(env).training().create_training_job(**normalised_parameters)
        env.stack.append({"TrainingJobArn": answer["TrainingJobArn"]})

    def _build_sync_resolver(self, env: Any, resource_runtime_part: Any, normalised_parameters: Any, state_credentials: Any) -> Any:  # noqa: ARG002
        client, name = _account(env).training(), normalised_parameters["TrainingJobName"]

        def look(stop: bool = False) -> Any:
            if stop:
                client.stop_training_job(TrainingJobName=name)
                return None
            job = client.describe_training_job(TrainingJobName=name)
            job.pop("ResponseMetadata", None)
            job = json.loads(json.dumps(job, default=str))
            if job["TrainingJobStatus"] in ("Failed", "Stopped"):
                raise FailureEventException(self._failed(env, FAILED, json.dumps(job)))
            return job if job["TrainingJobStatus"] == "Completed" else None

        return look

    def _eval_sync(self, env: Any, sync_resolver: Any, timeout_seconds: Any, callback_endpoint: Any, heartbeat_endpoint: Any) -> Any:  # noqa: ARG002
        while env.is_running():
            if (found := sync_resolver()) is not None:
                return found
            time.sleep(POLL_S)
        sync_resolver(stop=True)
        return {}

    def _from_error(self, env: Any, ex: Exception) -> Any:
        if not isinstance(ex, ClientError):
            return super()._from_error(env=env, ex=ex)
        told = ex.response["Error"]
        name = f"SageMaker.{_NAMES.get(told['Code'], 'AmazonSageMakerException')}"
        return self._failed(env, name, f"{told['Message']} (Service: AmazonSageMaker; Error Code: {told['Code']})")

    def _failed(self, env: Any, name: str, cause: str) -> Any:
        details = TaskFailedEventDetails(
            resource=self._get_sfn_resource(), resourceType=self._get_sfn_resource_type(), error=name, cause=cause
        )
        return FailureEvent(
            env=env,
            error_name=StatesErrorName(StatesErrorNameType.StatesTaskFailed) if name == FAILED else CustomErrorName(name),
            event_type=HistoryEventType.TaskFailed,
            event_details=EventDetails(taskFailedEventDetails=details),
        )
