"""Who counts the instances where AWS does: a scalable target and a policy (target tracking) for each variant.

A variant must be taken off before it may go or change its machine; the service refuses the update otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from penstock.platforms.sagemaker.aws import Aws

POLICY = "penstock-invocations"
_WHAT: dict[str, Any] = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}


@dataclass(frozen=True, slots=True)
class Scaling:
    """Does nothing, and asks nobody, where the section has no `autoscale`."""

    aws: Aws

    def follow(self, endpoint: str, variants: Collection[str]) -> None:
        """AWS counts the instances of these. Idempotent."""
        bounds = self.aws.settings.autoscale
        if bounds is None:
            return
        for variant in variants:
            where: dict[str, Any] = {**_WHAT, "ResourceId": _resource(endpoint, variant)}
            self.aws.call("application-autoscaling:RegisterScalableTarget", MinCapacity=bounds.min, MaxCapacity=bounds.max, **where)
            tracking: dict[str, Any] = {
                "TargetValue": bounds.invocations,
                "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
                "ScaleOutCooldown": int(bounds.up_after),
                "ScaleInCooldown": int(bounds.down_after),
            }
            more: dict[str, Any] = {"PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": tracking}
            self.aws.call("application-autoscaling:PutScalingPolicy", PolicyName=POLICY, **where, **more)

    def keep(self, endpoint: str, variants: Collection[str]) -> None:
        """Takes off all variants of the endpoint but these."""
        if self.aws.settings.autoscale is None:
            return
        kept = {_resource(endpoint, variant) for variant in variants}
        for resource in list(self._targets(endpoint)):
            if resource not in kept:
                self.aws.call("application-autoscaling:DeregisterScalableTarget", _gone, ResourceId=resource, **_WHAT)

    def _targets(self, endpoint: str) -> Iterator[str]:
        for row in self.aws.pages("application-autoscaling:DescribeScalableTargets", "ScalableTargets", **_WHAT):
            if row["ResourceId"].startswith(f"endpoint/{endpoint}/"):
                yield row["ResourceId"]


def _resource(endpoint: str, variant: str) -> str:
    return f"endpoint/{endpoint}/variant/{variant}"


def _gone(code: str, message: str) -> bool:  # noqa: ARG001 (as every `known` has it)
    return code == "ObjectNotFoundException"
