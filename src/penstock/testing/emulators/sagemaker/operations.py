"""Which operation is answered by what; one that is not in this table is refused as unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from penstock.testing.emulators.sagemaker import endpoints, models, packages, training, transforms
from penstock.testing.emulators.sagemaker.account import Account, page
from penstock.testing.emulators.sagemaker.errors import invalid

Operation = Callable[[Account, Mapping[str, Any]], dict[str, Any]]


def _list_tags(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    if request["ResourceArn"] not in account.tags:
        raise invalid(f"Resource {request['ResourceArn']} does not exist.")
    rows = sorted(account.tags[request["ResourceArn"]].items())
    return page(rows, request, "Tags", lambda row: {"Key": row[0], "Value": row[1]})


def _add_tags(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    if request["ResourceArn"] not in account.tags:
        raise invalid(f"Resource {request['ResourceArn']} does not exist.")
    account.tag(request["ResourceArn"], request["Tags"])
    return {"Tags": [{"Key": key, "Value": value} for key, value in account.tags[request["ResourceArn"]].items()]}


OPERATIONS: Mapping[str, Operation] = {
    "CreateTrainingJob": training.create,
    "DescribeTrainingJob": training.describe,
    "StopTrainingJob": training.stop,
    "DeleteTrainingJob": training.delete,
    "ListTrainingJobs": training.list_,
    "CreateTransformJob": transforms.create,
    "DescribeTransformJob": transforms.describe,
    "StopTransformJob": transforms.stop,
    "ListTransformJobs": transforms.list_,
    "CreateModel": models.create_model,
    "DescribeModel": models.describe_model,
    "DeleteModel": models.delete_model,
    "ListModels": models.list_models,
    "CreateEndpointConfig": models.create_config,
    "DescribeEndpointConfig": models.describe_config,
    "DeleteEndpointConfig": models.delete_config,
    "ListEndpointConfigs": models.list_configs,
    "CreateEndpoint": endpoints.create,
    "DescribeEndpoint": endpoints.describe,
    "UpdateEndpoint": endpoints.update,
    "UpdateEndpointWeightsAndCapacities": endpoints.update_weights,
    "DeleteEndpoint": endpoints.delete,
    "ListEndpoints": endpoints.list_,
    "CreateModelPackageGroup": packages.create_group,
    "DescribeModelPackageGroup": packages.describe_group,
    "DeleteModelPackageGroup": packages.delete_group,
    "ListModelPackageGroups": packages.list_groups,
    "CreateModelPackage": packages.create,
    "DescribeModelPackage": packages.describe,
    "UpdateModelPackage": packages.update,
    "DeleteModelPackage": packages.delete,
    "ListModelPackages": packages.list_,
    "ListTags": _list_tags,
    "AddTags": _add_tags,
}
