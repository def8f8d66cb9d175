"""What `penstock plan` says of a deployment here, and what can never be."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.core.errors import PlatformLacks
from penstock.platforms.sagemaker.platform import SAGEMAKER

SECTION = {"kind": "sagemaker", "region": "eu-west-1", "role": "arn:aws:iam::123456789012:role/p", "image": "i"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"machine": "ml.m5.large"}, ["sagemaker:CreateEndpoint: ml.m5.large instances, in eu-west-1"]),
        ({"serverless": {"memory_gb": 2}}, ["sagemaker:CreateEndpoint: serverless, 2048 MB, in eu-west-1"]),
        (
            {
                "machine": "ml.m5.large",
                "asynchronous": {"concurrency": 2, "timeout": 1800.0},
                "autoscale": {"min": 0, "max": 4, "backlog": 5.0},
            },
            [
                "sagemaker:CreateEndpoint for each version, asynchronous: ml.m5.large instances, in eu-west-1",
                "sagemaker:InvokeEndpointAsync for each request, 2 at once an instance, at most 6 h 0 min in line and 30 min 0 s at work; "
                "bodies and answers in S3",
                "application-autoscaling: 0 to 4 instances of each version, woken by an alarm",
            ],
        ),
        ({"capture": {"percent": 20}}, ["data capture of 20 % of what goes to the endpoint; its objects in S3 are removed once read"]),
        ({"capture": {"keep": True}}, ["data capture of 100 % of what goes to the endpoint; its objects in S3 stay"]),
    ],
)
def test_a_deployment_is_in_the_plan(more: dict[str, Any], told: list[str]) -> None:
    assert list(SAGEMAKER.serving({**SECTION, **more}))[-len(told) :] == told


def test_a_machine_that_is_not_there_is_refused_before_anything_runs() -> None:
    with pytest.raises(PlatformLacks, match=r"ml\.nonsense"):
        SAGEMAKER.serving({**SECTION, "machine": "ml.nonsense"})
