"""Model package groups and their versioned packages, with the status of approval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.sagemaker.account import Account, page
from penstock.testing.emulators.sagemaker.errors import AwsError, invalid

GROUP = "model-package-group"
_SHOWN = ("ModelPackageDescription", "InferenceSpecification", "CustomerMetadataProperties", "ModelMetrics", "MetadataProperties")


@dataclass(slots=True)
class Package:
    request: Mapping[str, Any]
    group: str
    version: int
    arn: str
    created: float
    status: str
    why: str = ""


@dataclass(slots=True)
class Group:
    request: Mapping[str, Any]
    arn: str
    created: float
    packages: list[Package] = field(default_factory=list)
    counted: int = 0


def create_group(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    name, groups = request["ModelPackageGroupName"], account.of(GROUP)
    if name in groups:
        raise invalid(f"Model Package Group already exists: {groups[name].arn}")
    made = groups[name] = Group(request, account.arn(GROUP, name), account.clock())
    account.tag(made.arn, request.get("Tags"))
    return {"ModelPackageGroupArn": made.arn}


def describe_group(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    name = request["ModelPackageGroupName"]
    group = _group(account, name)
    told = {"ModelPackageGroupName": name, "ModelPackageGroupArn": group.arn, "CreationTime": group.created, "CreatedBy": {}}
    return {**told, "ModelPackageGroupStatus": "Completed"}


def delete_group(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    group = _group(account, request["ModelPackageGroupName"])
    if group.packages:
        raise AwsError("ConflictException", "The model package group is not empty.")
    account.tags.pop(group.arn, None)
    del account.of(GROUP)[request["ModelPackageGroupName"]]
    return {}


def list_groups(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    rows = [(name, group) for name, group in account.of(GROUP).items() if request.get("NameContains", "") in name]
    return page(
        rows,
        request,
        "ModelPackageGroupSummaryList",
        lambda row: {
            "ModelPackageGroupName": row[0],
            "ModelPackageGroupArn": row[1].arn,
            "CreationTime": row[1].created,
            "ModelPackageGroupStatus": "Completed",
        },
    )


def create(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    """The same ClientToken again gives the package that it made."""
    if "ModelPackageGroupName" not in request:
        raise invalid("Packages without a group are not emulated.")
    if "Tags" in request:
        raise invalid("Tags cannot be given to a versioned model package; tag its group.")
    name = request["ModelPackageGroupName"]
    group, token = _group(account, name), request.get("ClientToken")
    known = next((one for one in group.packages if token and one.request.get("ClientToken") == token), None)
    if known is not None:
        return {"ModelPackageArn": known.arn}
    group.counted += 1
    arn = f"{account.arn('model-package', name)}/{group.counted}"
    status = request.get("ModelApprovalStatus", "PendingManualApproval")
    group.packages.append(Package(request, name, group.counted, arn, account.clock(), status))
    return {"ModelPackageArn": arn}


def describe(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    package = _package(account, request["ModelPackageName"])
    kept = {name: package.request[name] for name in _SHOWN if name in package.request}
    told = {**_summary(package), **kept, "ModelPackageName": package.group, "ModelPackageStatusDetails": {"ValidationStatuses": []}}
    return {**told, "ApprovalDescription": package.why} if package.why else told


def update(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    package = _package(account, request["ModelPackageArn"])
    package.status = request.get("ModelApprovalStatus", package.status)
    package.why = request.get("ApprovalDescription", package.why)
    return {"ModelPackageArn": package.arn}


def delete(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    package = _package(account, request["ModelPackageName"])
    account.of(GROUP)[package.group].packages.remove(package)
    return {}


def list_(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    rows = list(_group(account, request["ModelPackageGroupName"]).packages)
    wanted = request.get("ModelApprovalStatus")
    rows = [row for row in rows if wanted in (None, row.status)][:: -1 if request.get("SortOrder", "Descending") == "Descending" else 1]
    return page(rows, request, "ModelPackageSummaryList", _summary)


def _summary(package: Package) -> dict[str, Any]:
    return {
        "ModelPackageGroupName": package.group,
        "ModelPackageVersion": package.version,
        "ModelPackageArn": package.arn,
        "CreationTime": package.created,
        "ModelPackageStatus": "Completed",
        "ModelApprovalStatus": package.status,
        **{name: package.request[name] for name in ("ModelPackageDescription",) if name in package.request},
    }


def _group(account: Account, name: str) -> Group:
    group: Group | None = account.of(GROUP).get(name)
    if group is None:
        raise invalid(f"Model Package Group {account.arn(GROUP, name)} does not exist.")
    return group


def _package(account: Account, arn: str) -> Package:
    found: list[Package] = [package for group in account.of(GROUP).values() for package in group.packages if package.arn == arn]
    if not found:
        raise invalid(f"ModelPackage {arn} does not exist.")
    return found[0]
