"""Versions as model packages, and decisions on them in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.mirroring import mirror
from penstock.control.outside import wanting
from penstock.core.home import Home
from penstock.platforms.mirrors import agreed
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.settings import settings_of
from penstock.store.store import Store
from penstock.testing.emulators.sagemaker import SageMaker

STATES = st.sampled_from(["registered", "passed", "refused"])


@pytest.fixture
def store(cloud: SageMaker, tmp_path: Path) -> Iterator[tuple[Store, Home, Aws]]:
    """Two versions of `intents`, made on a platform that mirrors, and one of a model that was made here."""
    home = Home.find(tmp_path, {"PENSTOCK_ARTIFACTS": f"{cloud.bucket()}/store"})
    made, section = Store.open(home), cloud.section(registry=True)
    run = made.resources.create("run", "intents", {"platform": {"name": "aws", "config": section}})
    here = made.resources.create("run", "other", {"platform": {"name": "laptop", "config": {"kind": "local"}}})
    for number in (1, 2):
        made.registry.register("intents", f"sha256:{number:064x}", run=run.id, task="t", metrics={"accuracy": 0.9}, gates=[], facts={})
    made.registry.register("other", "sha256:" + "9" * 64, run=here.id, task="t", metrics={}, gates=[], facts={})
    made.registry.set_state("intents", 2, "passed")
    yield made, home, Aws(settings_of(section))
    made.close()


def packages(aws: Aws, cloud: SageMaker) -> dict[str, Any]:
    (group,) = cloud.account.of("model-package-group")
    rows = aws.pages("sagemaker:ListModelPackages", "ModelPackageSummaryList", ModelPackageGroupName=group)
    told = [aws.call("sagemaker:DescribeModelPackage", ModelPackageName=row["ModelPackageArn"]) or {} for row in rows]
    return {row["CustomerMetadataProperties"]["penstock-version"]: row for row in told}


def test_versions_become_packages_once(cloud: SageMaker, store: tuple[Store, Home, Aws]) -> None:
    made, home, aws = store
    assert wanting(made)
    cloud.account.faults.plan("lose_answer", "CreateModelPackage")
    assert mirror(made, home) == 2
    assert mirror(made, home) == 0
    found = packages(aws, cloud)
    assert {number: row["ModelApprovalStatus"] for number, row in found.items()} == {"1": "PendingManualApproval", "2": "Approved"}
    assert found["2"]["CustomerMetadataProperties"]["bundle"] == f"sha256:{2:064x}"
    assert found["2"]["CustomerMetadataProperties"]["metric.accuracy"] == "0.9"


def test_decisions_go_both_ways(cloud: SageMaker, store: tuple[Store, Home, Aws]) -> None:
    made, home, aws = store
    mirror(made, home)
    mirror(made, home)
    made.registry.set_state("intents", 1, "refused")
    assert mirror(made, home) == 1
    found = packages(aws, cloud)
    assert found["1"]["ModelApprovalStatus"] == "Rejected"
    assert "at Penstock" in found["1"]["ApprovalDescription"]
    aws.call("sagemaker:UpdateModelPackage", ModelPackageArn=found["2"]["ModelPackageArn"], ModelApprovalStatus="Rejected")
    aws.call("sagemaker:UpdateModelPackage", ModelPackageArn=found["1"]["ModelPackageArn"], ModelApprovalStatus="Approved")
    assert mirror(made, home) == 2
    assert [made.registry.get("intents", number).state for number in (1, 2)] == ["passed", "refused"]
    assert [entry.action for entry in made.audit.list()][-2:] == ["model.decide"] * 2
    assert mirror(made, home) == 0


def test_one_that_may_not_is_told(cloud: SageMaker, store: tuple[Store, Home, Aws], caplog: pytest.LogCaptureFixture) -> None:
    made, home, _ = store
    cloud.account.identities.denied.add("CreateModelPackage")
    assert mirror(made, home) == 0
    assert "Grant sagemaker:CreateModelPackage" in caplog.text


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
