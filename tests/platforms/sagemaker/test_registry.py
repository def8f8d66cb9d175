"""Versions as model packages, and decisions on them in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.platforms.mirrors import agreed, followed
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.settings import settings_of
from penstock.testing.emulators.faults import Faults
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.mirror_suite import MirrorConformance

STATES = st.sampled_from(["registered", "passed", "refused"])
NUMBERS = st.sampled_from([None, 1, 2, 3])
STATUS = {"registered": "PendingManualApproval", "passed": "Approved", "refused": "Rejected"}


class TestModelPackages(MirrorConformance):
    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: SageMaker) -> None:
        self.cloud, self.aws = cloud, Aws(settings_of(cloud.section(registry=True)))

    def place(self) -> tuple[str, dict[str, Any]]:
        return f"{self.cloud.bucket()}/store", self.cloud.section(registry=True)

    def packages(self) -> dict[int, dict[str, Any]]:
        (group,) = self.cloud.account.of("model-package-group")
        rows = self.aws.pages("sagemaker:ListModelPackages", "ModelPackageSummaryList", ModelPackageGroupName=group)
        told = [self.aws.call("sagemaker:DescribeModelPackage", ModelPackageName=row["ModelPackageArn"]) or {} for row in rows]
        return {int(row["CustomerMetadataProperties"]["penstock-version"]): row for row in told}

    def there(self) -> Mapping[int, Mapping[str, str]]:
        words = {status: state for state, status in STATUS.items()}
        return {
            number: {
                "state": words[row["ModelApprovalStatus"]],
                "told": f"{row['CustomerMetadataProperties']} {row.get('ApprovalDescription')}",
            }
            for number, row in self.packages().items()
        }

    def decide_there(self, number: int, state: str) -> None:
        arn = self.packages()[number]["ModelPackageArn"]
        self.aws.call("sagemaker:UpdateModelPackage", ModelPackageArn=arn, ModelApprovalStatus=STATUS[state])

    def lose_an_answer(self) -> None:
        self.cloud.account.faults.plan("lose_answer", "CreateModelPackage")

    def faults(self) -> Faults:
        return self.cloud.account.faults

    def deny_adding(self) -> str:
        self.cloud.account.identities.denied.add("CreateModelPackage")
        return "Grant sagemaker:CreateModelPackage"


@given(STATES, STATES, STATES)
def test_what_both_agree_on(last: str, ours: str, theirs: str) -> None:
    both = agreed(last, ours, theirs)
    assert both in (ours, theirs)
    assert agreed(both, both, both) == both
    if ours == last:
        assert both == theirs
    elif theirs == last:
        assert both == ours
    elif "refused" in (ours, theirs):
        assert both == "refused"


@given(NUMBERS, NUMBERS, NUMBERS)
def test_where_an_alias_goes(last: int | None, ours: int | None, theirs: int | None) -> None:
    both = followed(last, ours, theirs)
    assert both in (ours, theirs)
    assert followed(both, both, both) == both
    if theirs is None or ours != last:
        assert both == ours
    else:
        assert both == theirs
