"""What of ours is there: by name and tag, so that a leak is found whoever lost it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from penstock.platforms.sagemaker.aws import Aws, not_there
from penstock.platforms.sagemaker.settings import store_mark
from penstock.platforms.sagemaker.standing import PREFIX, machines
from penstock.platforms.sagemaker.starts import rules, schedules

_LISTS: Sequence[tuple[str, str, str, str, Mapping[str, str]]] = (
    ("training job", "sagemaker:ListTrainingJobs", "TrainingJobSummaries", "TrainingJob", {"StatusEquals": "InProgress"}),
    ("training job", "sagemaker:ListTrainingJobs", "TrainingJobSummaries", "TrainingJob", {"StatusEquals": "Stopping"}),
    ("transform job", "sagemaker:ListTransformJobs", "TransformJobSummaries", "TransformJob", {"StatusEquals": "InProgress"}),
    ("transform job", "sagemaker:ListTransformJobs", "TransformJobSummaries", "TransformJob", {"StatusEquals": "Stopping"}),
    ("endpoint", "sagemaker:ListEndpoints", "Endpoints", "Endpoint", {}),
    ("endpoint configuration", "sagemaker:ListEndpointConfigs", "EndpointConfigs", "EndpointConfig", {}),
    ("model", "sagemaker:ListModels", "Models", "Model", {}),
)


def left(aws: Aws, store: str) -> Sequence[str]:
    """`kind name` of jobs that run, and of endpoints, their configurations and models, of the project whose artifacts are in `store`; where
    the section names a `workflow_role`, also of state machines, executions that run, schedules and rules.

    An endpoint that is being deleted is as good as gone: nothing stops that.
    """
    return sorted((*_found(aws, store_mark(store)), *_shown(aws, store), *_workflows(aws, store)))


def _found(aws: Aws, mark: str) -> Iterator[str]:
    for what, operation, key, noun, more in _LISTS:
        for row in aws.pages(operation, key, NameContains=PREFIX, **more):
            name = row[f"{noun}Name"]
            going = row.get("EndpointStatus") == "Deleting"
            if name.startswith(PREFIX) and not going and _ours(aws, row[f"{noun}Arn"], mark):
                yield f"{what} {name}"


def _shown(aws: Aws, store: str) -> Iterator[str]:
    """Dashboards and alarms of this project, where its metrics go to CloudWatch: by name, which ends with the project's mark."""
    if not aws.settings.metrics:
        return
    for row in aws.pages("cloudwatch:ListDashboards", "DashboardEntries", DashboardNamePrefix=PREFIX):
        if row["DashboardName"].endswith(f"-{store_mark(store)}"):
            yield f"dashboard {row['DashboardName']}"


def _workflows(aws: Aws, store: str) -> Iterator[str]:
    if not aws.settings.workflow_role:
        return
    for machine in machines(aws, store):
        yield f"state machine {machine['name']}"
        for row in aws.pages(
            "stepfunctions:ListExecutions", "executions", "nextToken", stateMachineArn=machine["stateMachineArn"], statusFilter="RUNNING"
        ):
            yield f"execution {machine['name']}:{row['name']}"
    yield from (f"schedule {name}" for name in schedules(aws, store))
    yield from (f"rule {name}" for name in rules(aws, store))


def _ours(aws: Aws, arn: str, mark: str) -> bool:
    answer = aws.call("sagemaker:ListTags", not_there, ResourceArn=arn, MaxResults=50)
    return answer is not None and {"Key": "penstock-store", "Value": mark} in answer["Tags"]
