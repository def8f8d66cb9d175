"""Which state machines of ours are there, and what runs of them: by name and tag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.settings import store_mark

PREFIX = "penstock-"


def machines(aws: Aws, store: str) -> Iterator[Mapping[str, Any]]:
    """State machines of the project whose artifacts are in `store`."""
    for row in aws.pages("stepfunctions:ListStateMachines", "stateMachines", "nextToken"):
        if not row["name"].startswith(PREFIX):
            continue
        answer = aws.call("stepfunctions:ListTagsForResource", no_machine, resourceArn=row["stateMachineArn"])
        if answer is not None and {"key": "penstock-store", "value": store_mark(store)} in answer["tags"]:
            yield row


def running(aws: Aws, machine: str) -> Iterator[Mapping[str, Any]]:
    """Its executions that run. `machine`: ARN."""
    asked = {"stateMachineArn": machine, "statusFilter": "RUNNING"}
    return aws.pages("stepfunctions:ListExecutions", "executions", "nextToken", **asked)


def no_machine(code: str, message: str) -> bool:  # noqa: ARG001 (as every `known` has it)
    return code in ("StateMachineDoesNotExist", "ResourceNotFound")
