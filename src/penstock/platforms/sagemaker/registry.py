"""Versions as model packages: a group a model, a package a version, `ModelApprovalStatus` the state of it.

The group bears the project's mark, so two projects of an account keep apart. Our number of a version stands in the package's description,
which a list shows: theirs counts packages of the group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from penstock.core.digests import digest_json, hex_of
from penstock.platforms.mirrors import PASSED, REFUSED, Card, Shown
from penstock.platforms.sagemaker.aws import Aws, already, not_there
from penstock.platforms.sagemaker.naming import endpoint_name
from penstock.platforms.sagemaker.settings import store_mark, tags

_STATUS = {PASSED: "Approved", REFUSED: "Rejected"}
_STATES = {status: state for state, status in _STATUS.items()}
UNDECIDED = "PendingManualApproval"
NUMBER = "penstock-version"
_DESCRIPTION = re.compile(r".+:(\d+) of Penstock")


@dataclass(slots=True)
class ModelPackages:
    """The Mirror."""

    aws: Aws
    store: str
    _packages: dict[tuple[str, int], str] = field(default_factory=dict)  # by model and our number: ARN

    def look(self, model: str) -> Shown:
        """Packages have no aliases."""
        found: dict[int, str] = {}
        if self.aws.call("sagemaker:DescribeModelPackageGroup", _no_group, ModelPackageGroupName=self._group(model)) is None:
            return Shown()
        rows = self.aws.pages("sagemaker:ListModelPackages", "ModelPackageSummaryList", ModelPackageGroupName=self._group(model))
        for row in rows:
            ours = _DESCRIPTION.fullmatch(row.get("ModelPackageDescription", ""))
            if ours is not None:
                number = int(ours[1])
                self._packages[model, number] = row["ModelPackageArn"]
                found[number] = _STATES.get(row.get("ModelApprovalStatus", UNDECIDED), "registered")
        return Shown(found)

    def add(self, card: Card) -> None:
        group = self._group(card.model)
        mark = tags(self.aws.settings.tags, {"penstock-store": store_mark(self.store)})
        self.aws.call("sagemaker:CreateModelPackageGroup", already, ModelPackageGroupName=group, Tags=mark)
        told = {NUMBER: str(card.version), "bundle": card.bundle, "run": card.run, "task": card.task}
        told |= {f"metric.{name}"[:128]: f"{value:.6g}" for name, value in sorted(card.metrics.items())[:40]}
        serving = {"PENSTOCK_ARTIFACTS": self.store, "PENSTOCK_BUNDLE": card.bundle}
        self.aws.call(
            "sagemaker:CreateModelPackage",
            ModelPackageGroupName=group,
            ModelPackageDescription=f"{card.model}:{card.version} of Penstock",
            InferenceSpecification={
                "Containers": [{"Image": self.aws.settings.image, "Environment": serving}],
                "SupportedContentTypes": ["application/json"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
            ModelApprovalStatus=_STATUS.get(card.state, UNDECIDED),
            CustomerMetadataProperties=told,
            ClientToken=hex_of(digest_json([group, card.version, card.bundle]))[:36],
        )

    def decide(self, model: str, version: int, state: str, why: str) -> None:
        if (model, version) not in self._packages:
            self.look(model)
        arn = self._packages[model, version]
        status = _STATUS.get(state, UNDECIDED)
        self.aws.call("sagemaker:UpdateModelPackage", ModelPackageArn=arn, ModelApprovalStatus=status, ApprovalDescription=why[:1024])

    def takes(self, alias: str) -> bool:  # noqa: ARG002 (as every mirror has it)
        return False

    def point(self, model: str, alias: str, version: int | None) -> None:
        """Is not asked for: no alias is taken."""

    def _group(self, model: str) -> str:
        return endpoint_name(model, self.store)


def _no_group(code: str, message: str) -> bool:
    return not_there(code, message) or "does not exist" in message
